"""Tests of the server process: command line, startup and shutdown."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import threading
import warnings
from pathlib import Path

import httpx
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.listening import bind
from darkroom.serve.server import Server
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.serving import LATE, WHITE, command, served, wait_until

IMAGE = {"content": WHITE, "headers": {"content-type": "image/png"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "bundle"
    bundles.write(folder)
    return folder


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


def test_an_address_that_cannot_be_listened_on():
    """It is an error in one line, also for a host name that IDNA refuses, and leaves no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as used, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for host, port in [("127.0.0.1", used.getsockname()[1]), ("a" * 70, 0)]:
            with pytest.raises(DarkroomError, match="--port"):
                bind(host, port)
        gc.collect()
    assert [str(warning.message) for warning in caught if "<socket" in str(warning.message)] == []
