"""The HTTP server: uvicorn with a graceful shutdown; connection.py limits slow clients."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from functools import partial
from time import monotonic
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from darkroom.serve.connection import Connection
from darkroom.serve.listening import BACKLOG
from darkroom.serve.service import Service

_KEEP_ALIVE = 75  # seconds that a connection may idle between requests: longer than common clients keep one open
_LINGER = 0.3  # seconds at shutdown for requests that are on their way over open connections
_GRACE = 7  # seconds at shutdown for accepted requests to finish


class Server(uvicorn.Server):
    """Shuts down at SIGTERM or SIGINT with exit code 0.

    First it reports not ready. After the drain delay it accepts no new connections and finishes the accepted requests.
    SIGINT, and a second signal of either kind, skip the drain delay.
    """

    def __init__(self, app: ASGIApp, service: Service):
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=partial(Connection, patience=2 * settings.timeout, max_dropped=4 * settings.max_bytes),
                ws="none",
                lifespan="off",
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._service = service
        self._closing_time = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        delay = self._service.settings.drain_delay if self._service.ready and sig == signal.SIGTERM else 0
        self._service.ready = False
        self._closing_time = monotonic() + delay

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or monotonic() >= self._closing_time

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = [connection for listener in sockets or [] for connection in _waiting(listener)]
        for server in self.servers:
            server.close()
        protocol = partial(
            self.config.http_protocol_class,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        await asyncio.sleep(_LINGER)  # else a request that was already sent would meet a closed connection
        await super().shutdown(sockets)


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept the connections that are still queued: closing the listener would reset them."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield listener.accept()[0]
