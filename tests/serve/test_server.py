"""The process itself: its command line, its manners towards slow clients, its end."""

import contextlib
import gc
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.server import Server, bind
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.serving import WHITE, command, served

PICTURE = {"content": WHITE, "headers": {"content-type": "image/png"}}
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: service\r\nContent-Type: image/png\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 2**16  # bytes of a header


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "bundle"
    bundles.write(folder)
    return folder


def test_a_day_in_its_life(folder: Path):
    with (
        served(folder, "--drain-delay", 1) as (process, address),
        httpx.Client(base_url=address) as client,
        httpx.Client(base_url=address) as newcomer,
    ):
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/predict", **PICTURE).json()["label"] == "bright"
        answers: list[int] = []
        told = threading.Event()

        def press() -> None:
            with (
                httpx.Client(base_url=address, timeout=10) as pressing,
                contextlib.suppress(httpx.TransportError),
            ):  # the door is closed, in the end
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
        came = 0
        while time.monotonic() < ended + 0.6:  # the door is open yet
            answer = newcomer.post("/v1/predict", **PICTURE)
            assert (answer.status_code, answer.headers["connection"]) == (
                200,
                "close",
            )  # the next one is over another connection
            came += 1
        for thread in threads:
            thread.join()
        log, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert time.monotonic() < ended + 10
        assert set(answers) == {200}
        assert log.count('"/v1/predict"') == len(answers) + 1 + came


def test_who_waits_when_the_door_closes_is_answered(folder: Path):
    service = Service(Settings(bundle=folder))
    server = Server(app.build(service, AccessLog("off")), service)
    server.should_exit = True  # as soon as it runs: it takes nobody in before
    with bind("127.0.0.1", 0) as door, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(door.getsockname(), timeout=30)) for _ in range(3)]
        for client in clients:
            client.sendall(b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n")
        server.run([door])
        assert [client.recv(12) for client in clients] == [b"HTTP/1.1 200"] * 3
    service.close()


@pytest.fixture(scope="module")
def impatient(folder: Path) -> Iterator[str]:
    """The address of a service that waits for nobody longer than 0.4 seconds."""
    with served(folder, "--timeout", 0.2, "--max-bytes", 10 * LIMIT, "--drain-delay", 0) as (_, address):
        yield address


def connected(address: str, **options: int) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.settimeout(30)
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.connect((host, int(port)))
    return connection


def answer(address: str, *sent: bytes) -> bytes:
    """All that comes back until the connection is closed."""
    with connected(address) as connection:
        for some in sent:
            connection.sendall(some)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_slow_and_endless_senders_are_cut_off(impatient: str):
    assert answer(impatient) == b""  # not a byte
    assert answer(impatient, HEAD) == b""  # half a header
    assert answer(impatient, HEAD, b"Content-Length: 100\r\n\r\n", b"half").startswith(b"HTTP/1.1 408 ")
    too_long = bytes(10 * LIMIT + 1)
    assert answer(impatient, CHUNKED, b"%x\r\n" % len(too_long), too_long, b"\r\n").startswith(b"HTTP/1.1 413 ")
    assert answer(impatient, HEAD, b"Content-Length: %d\r\n\r\n" % len(too_long)).startswith(b"HTTP/1.1 413 ")
    assert answer(impatient, HEAD, b"Content-Length: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"{impatient}/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD + b"X: ", b"y" * 6),
        (HEAD, b"X: y\r\n"),
        (b"GET /", b"y" * 6),
        (b"", b"\r\n\r\n\r\n"),
        (CHUNKED + b"0;y=", b"y" * 6),
        (CHUNKED + b"1\r\ny\r\n0\r\n", b"X: y\r\n"),  # of a trailer
    ],
)
def test_a_header_without_end_is_cut_off(impatient: str, start: bytes, more: bytes):
    with connected(impatient) as connection:
        connection.sendall(start)
        with pytest.raises(ConnectionError):
            for _ in range(20):
                connection.sendall(more * LIMIT)


def test_a_header_that_is_too_long_is_told_so(impatient: str):
    long = HEAD + b"Connection: close\r\nX: "
    long += b"y" * (LIMIT - len(long))
    assert answer(impatient, long + b"y").startswith(b"HTTP/1.1 400 ")
    assert answer(impatient, long[:-4] + b"\r\n\r\n").startswith(b"HTTP/1.1 422 ")


def test_requests_that_do_not_wait_for_an_answer(folder: Path):
    live, last = (
        b"GET /health/live HTTP/1.1\r\n" + line + b"\r\n\r\n"
        for line in (b"X: " + b"y" * (LIMIT // 50), b"Connection: close")
    )
    post = HEAD + b"Content-Length: 1\r\n\r\ny"
    with served(folder, "--log-format", "off", "--drain-delay", 0) as (process, address):
        answers = answer(
            address, CHUNKED + b"1\r\ny\r\n" * LIMIT + b"0\r\n\r\n" + live * 100 + last
        )  # much that is no body, but no long header
        assert answers.startswith(b"HTTP/1.1 422 ") and answers.count(b"HTTP/1.1 200 ") == 101
        with connected(address) as connection, pytest.raises(ConnectionError):  # too many are cut off
            for _ in range(20):
                connection.sendall(post * 10_000)
        assert httpx.get(f"{address}/health/ready").status_code == 200
        process.terminate()
        assert process.communicate(timeout=30) == ("", "")  # no traceback


def test_an_open_connection_may_idle_but_not_send_what_is_no_request(impatient: str):
    def alive(connection: http.client.HTTPConnection) -> bool:
        connection.request("GET", "/health/live")
        return connection.getresponse().read() == b'{"status":"live"}'

    idle, strange = (http.client.HTTPConnection(impatient.removeprefix("http://"), timeout=30) for _ in range(2))
    with contextlib.closing(idle), contextlib.closing(strange):
        assert alive(idle) and alive(strange)
        strange.sock.sendall(b"\r\n")
        assert strange.sock.recv(1) == b""
        assert alive(idle)


async def as_long_as_asked(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with as many bytes as the path says."""
    length = scope["path"].removeprefix("/")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length.encode())]})
    await send({"type": "http.response.body", "body": bytes(int(length))})


@pytest.fixture
def sending(folder: Path) -> Iterator[tuple[Server, str]]:
    """A server of that application with small buffers and a patience of 0.2 seconds, and its address."""
    service = Service(Settings(bundle=folder, timeout=0.1))
    server = Server(as_long_as_asked, service)
    with bind("127.0.0.1", 0) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        yield server, f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    service.close()


@pytest.mark.parametrize("length", [50_000, 5_000_000])
@pytest.mark.parametrize("end", [b"\r\n", b"Connection: close\r\n\r\n"])
def test_a_client_that_does_not_read_is_not_waited_for(sending: tuple[Server, str], length: int, end: bytes):
    server, address = sending
    with connected(address, SO_RCVBUF=4096) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\n%b" % (length, end))
        assert connection.recv(4) == b"HTTP"
        started = time.monotonic()
        while server.server_state.connections:
            assert time.monotonic() < started + 10


def test_nothing_is_left_of_a_connection_that_is_cut_off(sending: tuple[Server, str]):
    server, address = sending
    gc.disable()  # which would find it some time
    try:
        with connected(address) as connection:
            connection.sendall(b"GET /500000 HTTP/1.1\r\n\r\n" * 200)
            assert connection.recv(4) == b"HTTP"
            (kept,) = map(weakref.ref, server.server_state.connections)
        started = time.monotonic()
        while kept():
            assert time.monotonic() < started + 10
    finally:
        gc.enable()


def test_a_client_that_reads_slowly_gets_it_all(sending: tuple[Server, str]):
    with connected(sending[1], SO_RCVBUF=4096) as connection:
        connection.sendall(b"GET /500000 HTTP/1.1\r\nConnection: close\r\n\r\n")
        started, length = time.monotonic(), 0
        while some := connection.recv(4096):
            length += len(some)
            time.sleep(0.006)
    assert length > 500_000 and time.monotonic() > started + 0.6


def refused(*arguments: object, key: str = "") -> str:
    """The sentence with which a service does not start."""
    process = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, env=os.environ | {"DARKROOM_API_KEY": key}
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("serve: ") and process.stderr.count("\n") == 1
    return process.stderr


def test_it_does_not_start(folder: Path, tmp_path: Path):
    assert "manifest.json is missing" in refused(tmp_path / "no bundle", "--port", 0)
    assert "DARKROOM_API_KEY" in refused(folder, "--host", "0.0.0.0", "--port", 0)
    assert "holds no model.int8.onnx" in refused(folder, "--int8", "--port", 0)
    assert "cannot be served at" in refused(folder, "--host", "no.such.host.invalid", key="a-key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "port" in refused(folder, "--port", taken.getsockname()[1])


@pytest.mark.parametrize(
    "arguments", [("--port", 65536), ("--queue", 0), ("--timeout", "soon"), ("--threads", 1.5), ("--log-format", "xml")]
)
def test_a_wrong_command_line(arguments: tuple[object, ...]):
    process = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)
    assert process.returncode == 2 and f"argument {arguments[0]}: " in process.stderr
