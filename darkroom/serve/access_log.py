"""One line on the standard output for every request: what was asked, and how it ended; nothing of what was sent."""

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
_BACKLOG = 20_000  # lines; where nobody reads them, the oldest are lost


@dataclass(slots=True)
class Work:
    """What a request had done for it."""

    pictures: int = 0
    version: str | None = None  # of the bundle that did it


CURRENT: ContextVar[Work] = ContextVar("work")  # of the request that is being answered


def note(pictures: int, version: str) -> None:
    """Counts pictures for the line of the request that is being answered."""
    if work := CURRENT.get(None):
        work.pictures += pictures
        work.version = version


class AccessLog:
    """Writes lines from a thread of its own: a reader that hangs, as on a full pipe, never holds up an answer."""

    def __init__(self, form: str, stream: TextIO | None = None):
        """`form` is json, text or off."""
        self._form, self._stream = form, stream or sys.stdout
        self._entries: deque[tuple] = deque(maxlen=_BACKLOG)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="access log", daemon=True)
        if form != "off":
            self._thread.start()

    def add(self, method: str, route: str, code: int, seconds: float, work: Work) -> None:
        """Takes the entry of a request that has just ended."""
        if self._form != "off":
            self._entries.append((time(), method, route, code, seconds, work))

    def close(self) -> None:
        """Writes what is left, unless nobody reads it."""
        self._closing.set()
        if self._form != "off":
            self._thread.join(timeout=1)

    def _write_on(self) -> None:
        while not (last := self._closing.wait(_INTERVAL)) or self._entries:
            lines = [self._line(*self._entries.popleft()) for _ in range(len(self._entries))]
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):  # the reader has gone
                return
            if last:
                return

    def _line(self, ended: float, method: str, route: str, code: int, seconds: float, work: Work) -> str:
        when, ms = datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds"), round(1000 * seconds, 2)
        if self._form == "text":
            return f"{when} {method} {route} {code} {ms} ms, {work.pictures} pictures, model {work.version or '-'}\n"
        entry = {
            "time": when,
            "method": method,
            "route": route,
            "code": code,
            "ms": ms,
            "pictures": work.pictures,
            "model": work.version,
        }
        return json.dumps(entry) + "\n"
