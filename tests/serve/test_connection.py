"""Tests of connections: slow clients, long headers, early responses, pipelining."""

import contextlib
import gc
import http.client
import json
import socket
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from darkroom.serve.server import Server
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.serving import LATE, answer, connected, listening, served, wait_until

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: service\r\nContent-Type: image/png\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 2**16  # bytes of a header


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("connection") / "bundle"
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


def test_slow_senders_are_cut_off(impatient: str):
    nothing, half_a_header = [], [HEAD]
    half_a_body = [HEAD + b"Content-Length: 100\r\n\r\nhalf"]
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


EARLY = [  # requests whose response does not depend on the body: method and path, headers, status
    ("POST /v1/predict", {"Content-Type": "text/plain"}, 415),
    ("POST /v1/predict?top_k=0", {"Content-Type": "image/png"}, 400),
    ("POST /v1/predict", {"Content-Type": "image/png"}, 413),  # longer than --max-bytes
    ("POST /v1/no", {}, 404),
    ("POST /v1/model", {}, 405),
    ("POST /v2/models/other/infer", {}, 404),
]


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize(("target", "headers", "status"), EARLY)
def test_a_client_that_sends_before_it_reads_gets_an_early_response(
    patient: str, connection: str, target: str, headers: dict[str, str], status: int
):
    body = bytes(2 * 10**6)
    lines = {"Host": "service", "Connection": connection, "Content-Length": str(len(body)), **headers}
    head = f"{target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    with connected(patient) as client:
        client.sendall(head.encode())
        time.sleep(0.02)  # the response is ready before the body arrives
        client.sendall(body)
        assert client.recv(65536).startswith(b"HTTP/1.1 %d " % status)
        if connection == "close":
            assert b"".join(iter(lambda: client.recv(65536), b"")) == b""
        else:
            client.sendall(b"GET /health/live HTTP/1.1\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("target", "headers", "status"), EARLY)
def test_urllib_gets_an_early_response(patient: str, target: str, headers: dict[str, str], status: int):
    method, path = target.split()
    request = urllib.request.Request(patient + path, bytes(2 * 10**6), headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=LATE)
    with raised.value as response:
        assert response.status == status and list(json.load(response)) == ["error"]


def test_a_malformed_request_with_more_behind_it_gets_a_response(patient: str):
    for sent in (b"no request\r\n" * 100_000, CHUNKED + b"no chunk\r\n" * 100_000):
        assert answer(patient, sent).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("end", [b"\r\n", b"Connection: close\r\n\r\n"])
def test_the_rest_of_a_refused_body_is_read_up_to_a_number_of_bytes(patient: str, end: bytes):
    head = b"POST /v1/no HTTP/1.1\r\nContent-Length: %d\r\n" % 10**10
    with connected(patient) as client, pytest.raises(ConnectionError):
        client.sendall(head + end)
        for _ in range(1000):
            client.sendall(bytes(10**6))


@pytest.mark.parametrize("end", [b"\r\n", b"Connection: close\r\n\r\n"])
def test_the_rest_of_a_refused_body_is_awaited_for_a_limited_time(sending: tuple[Server, str], end: bytes):
    server, address = sending
    with connected(address) as client:
        client.sendall(b"POST /2 HTTP/1.1\r\nContent-Length: 9\r\n" + end)
        assert client.recv(4) == b"HTTP"
        wait_until(lambda: not server.server_state.connections)


def test_a_long_header_in_one_write_is_refused(patient: str):
    close = b"Connection: close\r\n"
    for header in (b"X: " + b"y" * 100_000, b"X:" + b" " * 100_000 + b"y", b"X: y\r\n" * 20_000 + b"Z: y"):
        assert answer(patient, HEAD + close + header + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert answer(patient, b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n" + close + b"\r\n").startswith(b"HTTP/1.1 400 ")
    pipelined = answer(
        patient, b"GET /health/live HTTP/1.1\r\n\r\n" + HEAD + close + b"X: " + b"y" * 100_000 + b"\r\n\r\n"
    )
    assert b"HTTP/1.1 400 " in pipelined and b"HTTP/1.1 422 " not in pipelined


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
            for _ in range(1000):
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
            for _ in range(1000):
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


def slowly_received(connection: socket.socket) -> int:
    """The number of bytes until the server closes the connection."""
    length = 0
    while data := connection.recv(4096):
        length += len(data)
        time.sleep(0.008)
    return length


def test_a_client_that_reads_slowly_gets_the_whole_response(sending: tuple[Server, str]):
    """It takes more than twice the server's patience."""
    with connected(sending[1], SO_RCVBUF=4096) as connection:
        connection.sendall(b"GET /500000 HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert slowly_received(connection) > 500_000


def test_a_client_that_reads_all_the_time_is_not_cut_off_by_an_earlier_response(sending: tuple[Server, str]):
    """Fewer bytes waited after the first response than wait when the server looks again."""
    with connected(sending[1], SO_RCVBUF=4096) as connection:
        connection.sendall(b"GET /50000 HTTP/1.1\r\n\r\n")
        length = 0
        while length < 50_000:
            length += len(connection.recv(4096))
        time.sleep(0.2)
        connection.sendall(b"GET /500000 HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert slowly_received(connection) > 500_000
