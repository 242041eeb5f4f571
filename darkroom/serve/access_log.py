"""Access log: one line per request on the standard output. It never contains request data."""

import json
import sys
import threading
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import TextIO

_INTERVAL = 0.2  # seconds between two writes
_BACKLOG = 20_000  # lines; if nobody reads them, the oldest are dropped


@dataclass(slots=True)
class Work:
    """The work done for one request."""

    images: int = 0
    version: str | None = None  # of the bundle that was used


CURRENT: ContextVar[Work] = ContextVar("work")  # of the current request


def note(images: int, version: str) -> None:
    """Add images to the log entry of the current request."""
    if work := CURRENT.get(None):
        work.images += images
        work.version = version


class AccessLog:
    """Writes lines in a separate thread, so that a blocked reader, such as a full pipe, never delays a response."""

    def __init__(self, form: str, stream: TextIO | None = None):
        """`form` is json, text or off."""
        self._form, self._stream = form, stream or sys.stdout
        self._entries: deque[tuple] = deque(maxlen=_BACKLOG)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_loop, name="access log", daemon=True)
        if form != "off":
            self._thread.start()

    def add(self, method: str, route: str, code: int, seconds: float, work: Work) -> None:
        """Add the entry of a request that has just ended."""
        if self._form != "off":
            self._entries.append((time(), method, route, code, seconds, work))

    def close(self) -> None:
        """Write the remaining lines, unless the reader is blocked."""
        self._closing.set()
        if self._form != "off":
            self._thread.join(timeout=5)

    def _write_loop(self) -> None:
        while not (last := self._closing.wait(_INTERVAL)) or self._entries:
            lines = [self._line(*self._entries.popleft()) for _ in range(len(self._entries))]
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):  # the reader has closed the stream
                return
            if last:
                return

    def _line(self, ended: float, method: str, route: str, code: int, seconds: float, work: Work) -> str:
        when, ms = datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds"), round(1000 * seconds, 2)
        if self._form == "text":
            return f"{when} {method} {route} {code} {ms} ms, images: {work.images}, model: {work.version or '-'}\n"
        entry = {
            "time": when,
            "method": method,
            "route": route,
            "code": code,
            "ms": ms,
            "images": work.images,
            "model": work.version,
        }
        return json.dumps(entry) + "\n"
