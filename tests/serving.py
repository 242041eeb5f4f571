"""Test helpers: the service in this process, with or without a socket, or in a process of its own."""

import asyncio
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from starlette.types import ASGIApp

from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.listening import bind
from darkroom.serve.server import Server
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles

LATE = 60  # seconds until a test gives up


def png(brightness: int, size: tuple[int, int] = (4, 4)) -> bytes:
    """An image file of uniform brightness; tests/bundles.py defines its class."""
    file = io.BytesIO()
    Image.new("L", size, brightness).save(file, "PNG")
    return file.getvalue()


WHITE, BLACK = png(255), png(0)


class Api:
    """A service with its own bundle, called through its ASGI application."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any] | None = None,
        write: Callable[..., None] = bundles.write,
        **settings: Any,
    ):
        """`manifest` are arguments of `write`, which writes the bundle."""
        write(folder, **(manifest or {}))
        options = {"threads": 1, "timeout": 60, "log_format": "off", **settings}
        self.service = Service(Settings(bundle=folder, **options))
        self.app = app.build(self.service, AccessLog("off"))

    def __call__(self, method: str, url: str, **request: Any) -> httpx.Response:
        """The response to one request."""
        return self.run(lambda client: client.request(method, url, **request))

    def run(self, conversation: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        """The result of a conversation with the service in a new event loop."""

        async def connected() -> Any:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://service") as client:
                return await conversation(client)

        return asyncio.run(connected())


@asynccontextmanager
async def busy(service: Service, images: int = 1) -> AsyncIterator[None]:
    """Occupy the only worker thread with a job that counts as `images` images."""
    started, finish = threading.Event(), threading.Event()

    def work(_: object) -> None:
        started.set()
        finish.wait(60)

    task = asyncio.create_task(service.run(work, images))
    await asyncio.to_thread(started.wait, 60)
    try:
        yield
    finally:
        finish.set()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def listening(application: ASGIApp, service: Service, buffer: int | None = None) -> Iterator[tuple[Server, str]]:
    """Run `application` in a thread of this process; yield the server and its URL on a free port.

    `buffer` is the size of each connection's send buffer in bytes.
    """
    with bind("127.0.0.1", 0) as listener:  # queues connections until the server accepts them
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        server = Server(application, service)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "darkroom.serve", *map(str, arguments)]


@contextmanager
def served(bundle: Path, *arguments: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start the service on a free port; yield its process and URL. Ends it with SIGTERM."""
    process = subprocess.Popen(
        command("--bundle", bundle, "--port", 0, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        greeting = process.stderr.readline()
        assert greeting.startswith("http://"), greeting
        yield process, greeting.partition(" ")[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def connected(address: str, **options: int) -> socket.socket:
    """A plain connection to a service, with socket options such as SO_RCVBUF."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.settimeout(LATE)
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.connect((host, int(port)))
    return connection


def answer(address: str, *sent: bytes) -> bytes:
    """All data that the service sends until it closes the connection, read after everything is sent."""
    with connected(address) as connection:
        for some in sent:
            connection.sendall(some)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fails after a minute."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + LATE
        time.sleep(0.01)
