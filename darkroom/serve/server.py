"""The HTTP server: uvicorn with a graceful shutdown and with limits for slow clients."""

import asyncio
import contextlib
import errno
import math
import signal
import socket
from collections.abc import Iterator
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from darkroom.core.errors import DarkroomError
from darkroom.serve.service import Service

_BACKLOG = 2048  # connections that wait to be accepted
_KEEP_ALIVE = 75  # seconds that a connection may idle between requests: longer than common clients keep one open
_LINGER = 0.3  # seconds at shutdown for requests that are on their way over open connections
_GRACE = 7  # seconds at shutdown for accepted requests to finish
_MAX_HEADER = 2**16  # bytes
_MAX_PIPELINE = 256  # requests of a connection that wait for the response to an earlier one


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, which queues early connections. Raises DarkroomError if the address is not available."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
        return bound
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise DarkroomError(
                f"--port {port} is already in use on {host}: stop the other process, or choose another --port."
            ) from error
        raise DarkroomError(
            f"Cannot listen on {host}, port {port} ({error}): choose another --host or --port."
        ) from error


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
                http=partial(Connection, patience=2 * settings.timeout),
                ws="none",
                lifespan="off",
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
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


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits: by itself it waits for ever for slow clients, and buffers any amount."""

    def __init__(self, *arguments: Any, patience: float, **named: Any):
        super().__init__(*arguments, **named)
        self._patience = patience  # seconds for a whole request to arrive, and for a client to continue reading
        self._deadline: asyncio.TimerHandle | None = None  # for the request that is arriving
        self._reading: asyncio.TimerHandle | None = None  # for the client to read its responses
        self._running: RequestResponseCycle | None = None  # the request in progress
        self._header = 0  # bytes since the last body or request: a header, a trailer, or bytes that begin no request

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        self._header += len(data)
        super().data_received(data)
        if len(self.pipeline) > _MAX_PIPELINE:
            self.transport.close()
        elif self._header > _MAX_HEADER and not self.transport.is_closing():
            self.send_400_response(f"The request header has more than {_MAX_HEADER:,} bytes.")
        elif self._header and self._deadline.cancelled():  # the bytes begin no request
            self._await_request()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_request()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._header = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._header = 0
        self._deadline.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_reading()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        self._await_reading()

    def connection_lost(self, error: Exception | None) -> None:
        for timer in filter(None, (self._deadline, self._reading)):
            timer.cancel()
        # uvicorn tells only one request about the disconnect: by default the last to arrive, not the one in progress
        self.cycle = self._running
        super().connection_lost(error)
        # break the reference cycles with this connection, which would otherwise wait for the garbage collector
        self.pipeline.clear()
        self.cycle = self._running = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _await_request(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self._patience, self.transport.close)

    def _await_reading(self) -> None:
        if not self._reading:
            self._check_reading(math.inf)

    def _check_reading(self, before: float) -> None:
        """Abort the connection if the client has read nothing since the last check, when `before` bytes waited."""
        waiting = self.transport.get_write_buffer_size()
        if waiting >= before:
            self.transport.abort()
        self._reading = self.loop.call_later(self._patience, self._check_reading, waiting) if waiting else None
