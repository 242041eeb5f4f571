"""HTTP load on a server of this machine, from clients that each have one request in progress at a time.

A client writes bytes and reads an answer with a Content-Length, and no more, so that it costs little CPU time.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import uvloop

START_TIMEOUT = 60.0  # seconds until a server must be ready


@dataclass(frozen=True)
class Answer:
    """One request and its answer."""

    sent: float  # time.perf_counter()
    seconds: float  # until the answer was complete
    code: int  # HTTP status; 0 if the connection broke


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: psutil.Process
    port: int
    startup_seconds: float  # until it was ready

    def memory_mb(self) -> float:
        """The resident memory of the process and its children, in MB (10**6 bytes)."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / 1e6


def post(path: str, body: bytes, content_type: str = "image/png") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """The bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


@contextlib.contextmanager
def serving(command: Callable[[int], Sequence[str]], ready: str) -> Iterator[Server]:
    """Start a server with `command(port)` on a free port, and wait until the path `ready` answers 200.

    On exit, end it with SIGTERM, and then kill those of its child processes that are still running.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen([*command(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while once(port, get(ready)) != 200:
            seconds = time.perf_counter() - started
            if process.poll() is not None or seconds > START_TIMEOUT:
                state = f"was not ready after {seconds:.0f} s (exit code {process.poll()})"
                sys.exit(f"{' '.join(command(port))} {state}.")
            time.sleep(0.02)
        yield Server(psutil.Process(process.pid), port, time.perf_counter() - started)
    finally:
        others = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(30)
        for other in psutil.wait_procs(others, timeout=1)[1]:
            other.kill()


def once(port: int, request: bytes) -> int:
    """The status code of one request on a new connection; 0 if the connection fails."""
    return uvloop.run(_once(port, request))


async def _once(port: int, request: bytes) -> int:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    code = await _exchange(reader, writer, request)
    writer.close()
    return code


def load(port: int, request: bytes, clients: int, seconds: float) -> list[Answer]:
    """The answers that `clients` clients get in `seconds`, in the order of arrival."""
    return uvloop.run(_load(port, request, clients, seconds))


async def _load(port: int, request: bytes, clients: int, seconds: float) -> list[Answer]:
    answers: list[Answer] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, request, until, answers) for _ in range(clients)))
    return answers


async def _client(port: int, request: bytes, until: float, answers: list[Answer]) -> None:
    writer = None
    while (sent := time.perf_counter()) < until:
        try:
            if writer is None or writer.is_closing():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            code = await _exchange(reader, writer, request)
        except OSError:
            code = 0
        answers.append(Answer(sent, time.perf_counter() - sent, code))
        if code == 0:
            writer = None
            await asyncio.sleep(0.01)
    if writer:
        writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    try:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        writer.close()
        return 0
    if b"connection: close" in head:
        writer.close()
    return int(head.split(b" ", 2)[1])


def milliseconds(answers: Sequence[Answer], percent: float) -> float:
    """The percentile `percent` of the response times; NaN without answers."""
    return 1000 * float(np.percentile([answer.seconds for answer in answers] or [np.nan], percent))
