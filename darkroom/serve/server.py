"""uvicorn, with the manners that a service needs: it leaves in order, and it does not wait for ever for anybody."""

import asyncio
import contextlib
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

_BACKLOG = 2048  # connections that wait to be taken
_KEEP_ALIVE = 75  # seconds that a connection may idle between two requests: longer than usual clients hold one
_LINGER = 0.3  # seconds for requests that are on their way over open connections when the door closes
_LAST = 7  # seconds for accepted requests to end, then
_HEADER = 2**16  # bytes
_PIPELINE = 256  # requests of a connection that wait for the answer to an earlier one


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at the address: who comes early waits. Raises DarkroomError where it cannot be had."""
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
        raise DarkroomError(
            f"{host} port {port} cannot be served at ({error}): end what uses it, or choose another --host or --port."
        ) from error


class Server(uvicorn.Server):
    """Ends, at SIGTERM or SIGINT, with exit code 0: first the service is not ready any more, after its drain delay nobody is let in, and
    then what was accepted is answered. A second signal cuts the delay short, as does Ctrl-C."""

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
                timeout_graceful_shutdown=_LAST,
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
        waiting = [connection for door in sockets or [] for connection in _waiting(door)]
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
        await asyncio.sleep(_LINGER)  # else a request that had been sent would meet a closed connection
        await super().shutdown(sockets)


def _waiting(door: socket.socket) -> Iterator[socket.socket]:
    """The connections that clients have made and nobody has taken yet: to close the door would reset them."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield door.accept()[0]


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which by itself waits without end for a request and for a client that does not read, and holds headers of any
    length and any number of requests."""

    def __init__(self, *arguments: Any, patience: float, **named: Any):
        super().__init__(*arguments, **named)
        self._patience = patience  # seconds from a request's first byte to its last, and for a client to read on
        self._deadline: asyncio.TimerHandle | None = None  # of the request on its way
        self._reading: asyncio.TimerHandle | None = None  # of the client that has not read all of its answers
        self._running: RequestResponseCycle | None = None  # the request that is being answered
        self._header = (
            0  # bytes since the last of a body, or of a request: of a header, a trailer, or what begins no request
        )

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        self._header += len(data)
        super().data_received(data)
        if len(self.pipeline) > _PIPELINE:
            self.transport.close()
        elif self._header > _HEADER and not self.transport.is_closing():
            self.send_400_response(f"The header has more than {_HEADER:,} bytes.")
        elif self._header and self._deadline.cancelled():  # what came begins no request
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
        self.cycle = (
            self._running
        )  # uvicorn tells one request that nobody waits for it any more: by itself the last that came
        super().connection_lost(error)
        self.pipeline.clear()  # each of these holds the connection that holds it: they would stay until the garbage is looked through
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
            self._look(math.inf)

    def _look(self, left: float) -> None:
        """Ends the connection where no less than `left` bytes, those of the look before, wait for the client to read."""
        waiting = self.transport.get_write_buffer_size()
        if waiting >= left:
            self.transport.abort()
        self._reading = self.loop.call_later(self._patience, self._look, waiting) if waiting else None
