"""Tests of the server process: command line, slow clients, shutdown."""

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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.serving import WHITE, command, listening, served

IMAGE = {"content": WHITE, "headers": {"content-type": "image/png"}}
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: service\r\nContent-Type: image/png\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 2**16  # bytes of a header
LATE = 60  # seconds until a test gives up


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "bundle"
    bundles.write(folder)
    return folder


@pytest.fixture(scope="module")
def patient(folder: Path) -> Iterator[str]:
    """The URL of a service with the default time limits."""
    with served(folder, "--max-bytes", 10 * LIMIT, "--drain-delay", 0) as (_, address):
        yield address


@pytest.fixture(scope="module")
def impatient(folder: Path) -> Iterator[str]:
    """The URL of a service that closes a connection after 1 second without a complete request."""
    with served(folder, "--timeout", 0.5, "--drain-delay", 0) as (_, address):
        yield address


def wait_until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + LATE
        time.sleep(0.01)


def test_a_shutdown_under_load(folder: Path):
    """Until the drain delay ends, here by a second signal, all requests are answered, also over new connections."""
    with (
        served(folder, "--timeout", LATE, "--drain-delay", LATE) as (process, address),
        httpx.Client(base_url=address, timeout=LATE) as client,
        httpx.Client(base_url=address, timeout=LATE) as newcomer,
    ):
        assert client.get("/health/ready").status_code == 200
        statuses: list[int] = []

        def send() -> None:
            with (
                httpx.Client(base_url=address, timeout=LATE) as sender,
                contextlib.suppress(httpx.TransportError),  # the server refuses connections in the end
            ):
                while True:
                    statuses.append(sender.post("/v1/predict", **IMAGE).status_code)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) > 20)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/health/ready").status_code == 503)
        draining = [newcomer.post("/v1/predict", **IMAGE) for _ in range(20)]
        assert {(answer.status_code, answer.headers["connection"]) for answer in draining} == {(200, "close")}
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        log, _ = process.communicate(timeout=LATE)
        assert process.returncode == 0
        assert set(statuses) == {200}
        assert log.count('"/v1/predict"') == len(statuses) + len(draining)


def test_the_drain_delay_ends_by_itself(folder: Path):
    with served(folder, "--drain-delay", 0.2) as (process, address):
        httpx.get(f"{address}/health/live")  # the signal handlers are set before the server accepts connections
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LATE) == 0


def test_queued_connections_are_answered_at_shutdown(folder: Path):
    service = Service(Settings(bundle=folder))
    server = Server(app.build(service, AccessLog("off")), service)
    server.should_exit = True  # it stops before it accepts a connection
    with bind("127.0.0.1", 0) as listener, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(listener.getsockname(), LATE)) for _ in range(3)]
        for client in clients:
            client.sendall(b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n")
        server.run([listener])
        assert [client.recv(12) for client in clients] == [b"HTTP/1.1 200"] * 3
    service.close()


def connected(address: str, **options: int) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.settimeout(LATE)
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.connect((host, int(port)))
    return connection


def answer(address: str, *sent: bytes) -> bytes:
    """All data that the server sends until it closes the connection."""
    with connected(address) as connection:
        for some in sent:
            connection.sendall(some)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_slow_senders_are_cut_off(impatient: str):
    nothing, half_a_header = [], [HEAD]
    half_a_body = [HEAD, b"Content-Length: 100\r\n\r\n", b"half"]
    with ThreadPoolExecutor() as pool:  # they wait at the same time
        received = pool.map(lambda sent: answer(impatient, *sent), (nothing, half_a_header, half_a_body))
        assert [data[:13] for data in received] == [b"", b"", b"HTTP/1.1 408 "]
    assert httpx.get(f"{impatient}/health/ready").status_code == 200


def test_bodies_that_are_too_long_or_have_no_valid_length(patient: str):
    too_long = bytes(10 * LIMIT + 1)
    for data, status in (
        (CHUNKED + b"%x\r\n" % len(too_long) + too_long + b"\r\n", 413),
        (HEAD + b"Content-Length: %d\r\n\r\n" % len(too_long), 413),
        (HEAD + b"Content-Length: x\r\n\r\n", 400),
    ):
        with connected(patient) as connection:
            connection.sendall(data)
            assert connection.recv(13) == b"HTTP/1.1 %d " % status


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD + b"X: ", b"y" * 6),
        (HEAD, b"X: y\r\n"),
        (b"GET /", b"y" * 6),
        (b"", b"\r\n\r\n\r\n"),
        (CHUNKED + b"0;y=", b"y" * 6),
        (CHUNKED + b"1\r\ny\r\n0\r\n", b"X: y\r\n"),  # a trailer
    ],
)
def test_an_endless_header_is_cut_off(patient: str, start: bytes, more: bytes):
    with connected(patient) as connection:
        connection.sendall(start)
        with pytest.raises(ConnectionError):
            for _ in range(20):
                connection.sendall(more * LIMIT)


def test_a_header_that_is_too_long_gets_a_response(patient: str):
    long = HEAD + b"Connection: close\r\nX: "
    long += b"y" * (LIMIT - len(long))
    assert answer(patient, long + b"y").startswith(b"HTTP/1.1 400 ")
    assert answer(patient, long[:-4] + b"\r\n\r\n").startswith(b"HTTP/1.1 422 ")


def test_pipelined_requests(folder: Path):
    live, last = (
        b"GET /health/live HTTP/1.1\r\n" + line + b"\r\n\r\n"
        for line in (b"X: " + b"y" * (LIMIT // 50), b"Connection: close")
    )
    post = HEAD + b"Content-Length: 1\r\n\r\ny"
    with served(folder, "--log-format", "off", "--drain-delay", 0) as (process, address):
        answers = answer(
            address, CHUNKED + b"1\r\ny\r\n" * LIMIT + b"0\r\n\r\n" + live * 100 + last
        )  # many bytes that belong to no body, but no long header
        assert answers.startswith(b"HTTP/1.1 422 ") and answers.count(b"HTTP/1.1 200 ") == 101
        with connected(address) as connection, pytest.raises(ConnectionError):  # too many requests
            for _ in range(20):
                connection.sendall(post * 10_000)
        assert httpx.get(f"{address}/health/ready").status_code == 200
        process.terminate()
        assert process.communicate(timeout=LATE) == ("", "")  # no traceback


def test_a_connection_may_idle_but_not_send_bytes_that_begin_no_request(impatient: str):
    def alive(connection: http.client.HTTPConnection) -> bool:
        connection.request("GET", "/health/live")
        return connection.getresponse().read() == b'{"status":"live"}'

    idle, strange = (http.client.HTTPConnection(impatient.removeprefix("http://"), timeout=LATE) for _ in range(2))
    with contextlib.closing(idle), contextlib.closing(strange):
        assert alive(idle) and alive(strange)
        strange.sock.sendall(b"\r\n")
        assert strange.sock.recv(1) == b""
        assert alive(idle)


async def many_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    """An application whose response has the number of bytes in the path."""
    length = scope["path"].removeprefix("/")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length.encode())]})
    await send({"type": "http.response.body", "body": bytes(int(length))})


@pytest.fixture(scope="module")
def sending(folder: Path) -> Iterator[tuple[Server, str]]:
    """A server of `many_bytes` with a patience of 0.4 seconds, and its URL."""
    service = Service(Settings(bundle=folder, timeout=0.2))
    with listening(many_bytes, service, buffer=4096) as (server, url):
        yield server, url
    service.close()


@pytest.mark.parametrize("length", [50_000, 5_000_000])
@pytest.mark.parametrize("end", [b"\r\n", b"Connection: close\r\n\r\n"])
def test_a_client_that_does_not_read_is_cut_off(sending: tuple[Server, str], length: int, end: bytes):
    server, address = sending
    with connected(address, SO_RCVBUF=4096) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\n%b" % (length, end))
        assert connection.recv(4) == b"HTTP"
        wait_until(lambda: not server.server_state.connections)


def test_a_connection_that_is_cut_off_is_freed(sending: tuple[Server, str]):
    server, address = sending
    gc.disable()  # it would free the connection in any case
    try:
        with connected(address) as connection:
            connection.sendall(b"GET /500000 HTTP/1.1\r\n\r\n" * 200)
            assert connection.recv(4) == b"HTTP"
            (kept,) = map(weakref.ref, server.server_state.connections)
        wait_until(lambda: kept() is None)
    finally:
        gc.enable()


def test_a_client_that_reads_slowly_gets_the_whole_response(sending: tuple[Server, str]):
    """It takes more than twice the server's patience."""
    with connected(sending[1], SO_RCVBUF=4096) as connection:
        connection.sendall(b"GET /500000 HTTP/1.1\r\nConnection: close\r\n\r\n")
        length = 0
        while data := connection.recv(4096):
            length += len(data)
            time.sleep(0.008)
    assert length > 500_000


def refused(bundle: Path, *arguments: object, key: str = "") -> str:
    """The error with which the service does not start."""
    process = subprocess.run(
        command("--bundle", bundle, *arguments),
        capture_output=True,
        text=True,
        timeout=LATE,
        env=os.environ | {"DARKROOM_API_KEY": key},
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("serve: ") and process.stderr.count("\n") == 1
    return process.stderr


def test_it_does_not_start(folder: Path, tmp_path: Path):
    assert "manifest.json" in refused(tmp_path / "missing", "--port", 0)
    assert "DARKROOM_API_KEY" in refused(folder, "--host", "0.0.0.0", "--port", 0)
    assert "model.int8.onnx" in refused(folder, "--int8", "--port", 0)
    assert "no.such.host.invalid" in refused(folder, "--host", "no.such.host.invalid", key="a-key")
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        assert f"--port {port} is already in use" in refused(folder, "--port", port)


@pytest.mark.parametrize(
    "arguments", [("--port", 65536), ("--queue", 0), ("--timeout", "soon"), ("--threads", 1.5), ("--log-format", "xml")]
)
def test_an_invalid_command_line(arguments: tuple[object, ...]):
    process = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=LATE)
    assert process.returncode == 2 and f"argument {arguments[0]}: " in process.stderr
