"""The service in this process, asked without a socket, or in one of its own."""

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles


def png(brightness: int, size: tuple[int, int] = (4, 4)) -> bytes:
    """A picture file of one grey, of which tests/bundles.py says the class."""
    file = io.BytesIO()
    Image.new("L", size, brightness).save(file, "PNG")
    return file.getvalue()


WHITE, BLACK = png(255), png(0)


class Asked:
    """A service with a bundle of its own, and its HTTP application."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any] | None = None, **settings: Any):
        """`manifest` are fields of the bundle's that differ."""
        bundles.write(folder, **(manifest or {}))
        self.service = Service(Settings(bundle=folder, threads=1, log_format="off", **settings))
        self.app = app.build(self.service, AccessLog("off"))

    def __call__(self, method: str, url: str, **request: Any) -> httpx.Response:
        """The answer to one request."""
        return self.within(lambda client: client.request(method, url, **request))

    def within(self, conversation: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        """What a conversation with the service returns, in an event loop of its own."""

        async def held() -> Any:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://service") as client:
                return await conversation(client)

        return asyncio.run(held())


@asynccontextmanager
async def busy(service: Service, pictures: int = 1) -> AsyncIterator[None]:
    """While the only worker thread has something else to do, as of so many pictures."""
    started, free = threading.Event(), threading.Event()

    def work(_: object) -> None:
        started.set()
        free.wait(60)

    task = asyncio.create_task(service.run(work, pictures))
    await asyncio.to_thread(started.wait, 60)
    try:
        yield
    finally:
        free.set()
        await asyncio.gather(task, return_exceptions=True)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "darkroom.serve", *map(str, arguments)]


@contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process of a service, and its address; it is ended with SIGTERM."""
    process = subprocess.Popen(
        command(*arguments, "--port", 0), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, process.stderr.readline().split(" ", 1)[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)
