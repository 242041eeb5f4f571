"""HTTP load from this process on a server of this machine: so many clients, each with one request under way at a time.

A client writes bytes and reads an answer with a Content-Length, no more, so that it costs little beside the server.
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

STARTING = 60.0  # seconds that a server may take until it is ready


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent (seconds, of time.perf_counter), how long its answer took, and the status code; 0 where the connection broke."""

    sent: float
    seconds: float
    code: int


@dataclass(frozen=True)
class Server:
    """A server that answers: its process, its port, and the seconds from its start until it was ready."""

    process: psutil.Process
    port: int
    starting: float

    def memory_mb(self) -> float:
        """The resident memory of the process and its children, in units of 10**6 bytes."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / 1e6


def post(path: str, body: bytes, content_type: str = "image/png") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    """The bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


@contextlib.contextmanager
def serving(command: Callable[[int], Sequence[str]], ready: str) -> Iterator[Server]:
    """Starts a server by its command, which is told a free port, and waits until the path `ready` answers 200.

    Ends it with SIGTERM, and then those of its processes that do not end with it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen([*command(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while once(port, get(ready)) != 200:
            if process.poll() is not None or time.perf_counter() - started > STARTING:
                sys.exit(
                    f"{' '.join(command(port))} was not ready after {time.perf_counter() - started:.0f} s (exit code {process.poll()})."
                )
            time.sleep(0.02)
        yield Server(psutil.Process(process.pid), port, time.perf_counter() - started)
    finally:
        others = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(30)
        for other in psutil.wait_procs(others, timeout=1)[1]:
            other.kill()


def once(port: int, request: bytes) -> int:
    """The status code of one request on a connection of its own; 0 where there is none to be had."""
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
    """The answers to as many requests as the clients get answered in so many seconds, in the order in which they came."""
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
    """The percentile of the answers' times; NaN where there is none."""
    return 1000 * float(np.percentile([answer.seconds for answer in answers] or [np.nan], percent))
