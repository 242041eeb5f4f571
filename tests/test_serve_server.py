"""The process itself: its command line, its manners towards slow clients, its end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import bundles
from tests.serving import WHITE

PICTURE = {"content": WHITE, "headers": {"content-type": "image/png"}}
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: service\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "bundle"
    bundles.write(folder)
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "darkroom.serve", *map(str, arguments)]


@contextlib.contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process of a service, and its address; it is ended with SIGTERM."""
    process = subprocess.Popen(command(*arguments, "--port", 0), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stderr.readline().split(" ", 1)[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_day_in_its_life(folder: Path):
    with served(folder, "--drain-delay", 0.5) as (process, address), httpx.Client(base_url=address) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/predict", **PICTURE).json()["label"] == "bright"
        answers: list[int] = []
        told = threading.Event()

        def press() -> None:
            with httpx.Client(base_url=address, timeout=10) as pressing, contextlib.suppress(httpx.TransportError):  # the door is closed, in the end
                while True:
                    answers.append(pressing.post("/v1/predict", **PICTURE).status_code)
                    if len(answers) > 20:
                        told.set()

        threads = [threading.Thread(target=press) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert told.wait(30)
        process.send_signal(signal.SIGTERM)
        ended = time.monotonic()
        while client.get("/health/ready").status_code == 200:  # until the process has taken notice
            assert time.monotonic() < ended + 5
        for thread in threads:
            thread.join()
        log, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert time.monotonic() < ended + 10
        assert set(answers) == {200}
        assert log.count('"/v1/predict"') == len(answers) + 1


def test_slow_and_endless_senders_are_cut_off(folder: Path):
    with served(folder, "--timeout", 0.2, "--max-bytes", 1000, "--drain-delay", 0) as (_, address):
        host, port = address.removeprefix("http://").split(":")

        def answer(*sent: bytes) -> bytes:
            """All that comes back until the connection is closed."""
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                for some in sent:
                    connection.sendall(some)
                return b"".join(iter(lambda: connection.recv(65536), b""))

        assert answer() == b""  # not a byte
        assert answer(HEAD) == b""  # half a header
        assert answer(HEAD, b"Content-Length: 100\r\n\r\n", b"half").startswith(b"HTTP/1.1 408 ")
        assert answer(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"3e9\r\n", bytes(1001), b"\r\n").startswith(b"HTTP/1.1 413 ")
        assert answer(HEAD, b"Content-Length: 1001\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        assert answer(HEAD, b"Content-Length: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert httpx.get(f"{address}/health/ready").status_code == 200


def refused(*arguments: object, key: str = "") -> str:
    """The sentence with which a service does not start."""
    process = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, env=os.environ | {"DARKROOM_API_KEY": key})
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("serve: ") and process.stderr.count("\n") == 1
    return process.stderr


def test_it_does_not_start(folder: Path, tmp_path: Path):
    assert "manifest.json is missing" in refused(tmp_path / "no bundle", "--port", 0)
    assert "DARKROOM_API_KEY" in refused(folder, "--host", "0.0.0.0", "--port", 0)
    assert "holds no model.int8.onnx" in refused(folder, "--int8", "--port", 0)
    assert "cannot be served at" in refused(folder, "--host", "no.such.host.invalid", key="a key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "port" in refused(folder, "--port", taken.getsockname()[1])


@pytest.mark.parametrize("arguments", [("--port", 65536), ("--queue", 0), ("--timeout", "soon"), ("--threads", 1.5), ("--log-format", "xml")])
def test_a_wrong_command_line(arguments: tuple[object, ...]):
    process = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)
    assert process.returncode == 2 and f"argument {arguments[0]}: " in process.stderr
