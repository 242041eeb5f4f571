"""uvicorn's HTTP connection with limits for slow clients and long headers, and with a lingering close."""

import asyncio
import weakref
from typing import Any

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_MAX_HEADER = 2**16  # bytes
_MAX_PIPELINE = 256  # requests of a connection that wait for the response to an earlier one
_MAX_LINGER = 5  # seconds; less than the server's grace at shutdown
_PIECE = 2**13  # bytes that are parsed together: a header that begins within a piece may exceed the limit by one piece


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits: by itself it waits for ever for slow clients, and buffers any amount.

    A response may be ready before its request has arrived, such as a 415. If the connection were closed at once, the
    client, which is still sending, would get a reset instead of the response. So the rest is read and dropped for up
    to `patience` seconds and `max_dropped` bytes.
    """

    def __init__(self, *arguments: Any, patience: float, max_dropped: int, **named: Any):
        super().__init__(*arguments, **named)
        self._patience = patience  # seconds for a whole request to arrive, and for a client to continue reading
        self._max_dropped = max_dropped
        self._dropped = 0  # bytes read after the response to their request
        self._deadline: asyncio.TimerHandle | None = None  # for the request that is arriving, or for lingering
        self._reading: asyncio.TimerHandle | None = None  # for the client to read its responses
        self._running: RequestResponseCycle | None = None  # the request in progress
        self._header = 0  # bytes since the last body or request: a header, a trailer, or bytes that begin no request
        self._arriving = False  # whether more of a request is expected behind its header
        self._lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(_LingeringTransport(transport, self))
        self._await_request()

    def data_received(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._lingering and not self.transport.is_closing():
            size = min(_PIECE, _MAX_HEADER + 1 - self._header)
            self._parse(rest[:size])
            rest = rest[size:]
        if self._lingering:
            self._drop(len(rest))

    def eof_received(self) -> None:
        self._arriving = False  # nothing more will arrive

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._dropped = 0
        self._await_request()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._arriving = True

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._header = 0
        if self.cycle.response_complete:
            self._drop(len(body))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._header = 0
        self._arriving = False
        self._deadline.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_reading()

    def send_400_response(self, msg: str) -> None:
        self._arriving = True  # the bytes after the error are not parsed
        super().send_400_response(msg)
        self._await_reading()

    def must_linger(self) -> bool:
        """Whether a close must wait for the client, as it is still sending a request."""
        return self._arriving

    def linger(self) -> None:
        """Drop what the client sends until it closes the connection, or until a limit; then close."""
        self._lingering = True
        self._deadline.cancel()
        self._deadline = self.loop.call_later(min(self._patience, _MAX_LINGER), self.transport.close_now)
        if self._running and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.flow.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        for timer in filter(None, (self._deadline, self._reading)):
            timer.cancel()
        # uvicorn tells only one request about the disconnect: by default the last to arrive, not the one in progress
        self.cycle = self._running
        super().connection_lost(error)
        # break the reference cycles with this connection, which would otherwise wait for the garbage collector
        self.pipeline.clear()
        self.cycle = self._running = None

    def _parse(self, piece: memoryview) -> None:
        self._header += len(piece)
        super().data_received(piece)
        if len(self.pipeline) > _MAX_PIPELINE:
            self.transport.close_now()
        elif self._header > _MAX_HEADER and not self.transport.is_closing():
            self.send_400_response(f"The request header has more than {_MAX_HEADER:,} bytes.")
        elif self._header and self._deadline.cancelled():  # the bytes begin no request
            self._await_request()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > self._max_dropped:
            self.transport.close_now()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _await_request(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self._patience, self.transport.close_now)

    def _await_reading(self) -> None:
        if not self._reading:
            self._check_reading(-1)

    def _check_reading(self, before: int) -> None:
        """Abort the connection if the client has read nothing since the last check, when it had read `before` bytes."""
        waiting = self.transport.get_write_buffer_size()
        read = self.transport.written - waiting
        if waiting and read == before:
            self.transport.abort()
        self._reading = self.loop.call_later(self._patience, self._check_reading, read) if waiting else None


class _LingeringTransport:
    """A transport whose `close` only ends the response while the client is still sending."""

    def __init__(self, transport: asyncio.Transport, connection: Connection):
        self._transport = transport
        self._connection = weakref.proxy(connection)  # a reference would make a cycle
        self._ended = False
        self.written = 0  # bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._ended:
            self.written += len(data)
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._ended or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._connection.must_linger():
            return self._transport.close()
        self._ended = True
        self._transport.write_eof()
        self._connection.linger()

    def close_now(self) -> None:
        """Close the connection, whatever the client is sending."""
        self._transport.close()
