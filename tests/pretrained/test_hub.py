"""The Hugging Face Hub is a server on this machine, to which HF_ENDPOINT leads a process of its own."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save

from darkroom.pretrained import descriptions
from tests.code import ROOT
from tests.pretrained.weights import ARCHITECTURE, tensors

REPOSITORY, COMMIT = "someone/tiny.in1k", "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "architecture": ARCHITECTURE,
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
    },
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """The files of the repository, by name."""
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(tensors())}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.respond(with_body=False)

        def do_GET(self) -> None:
            self.respond(with_body=True)

        def respond(self, with_body: bool) -> None:
            path, code, headers = self.path.partition("?")[0], 404, {"X-Error-Code": "RepoNotFound"}
            body = b"{}"
            if path in (f"/api/models/{REPOSITORY}/revision/{name}" for name in ("main", COMMIT)):
                described = {"id": REPOSITORY, "sha": COMMIT, "siblings": [], "tags": []}
                card = {"license": json.loads(files.get("licence", b'"mit"'))}
                code, headers, body = 200, {}, json.dumps({**described, "cardData": card}).encode()
            elif path.startswith(f"/api/models/{REPOSITORY}/revision/"):
                headers = {"X-Error-Code": "RevisionNotFound"}
            elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
                found = files.get(path.rpartition("/")[2])
                headers = {"X-Error-Code": "EntryNotFound"}
                if found is not None:
                    code, body = 200, found
                    headers = {"ETag": f'"{hashlib.sha256(found).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub cache"))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `python -m darkroom.pretrained`."""
    command = [sys.executable, "-m", "darkroom.pretrained", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    return done.returncode, done.stdout + done.stderr


def fetched() -> subprocess.CompletedProcess[str]:
    """A process that prints where the weights are after it fetched them."""
    script = (
        "from pathlib import Path; from darkroom.pretrained import descriptions, sources;"
        "print(sources.fetch(descriptions.load('tiny.in1k'), Path('scratch'))[0])"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)


def test_a_repository_is_added_pinned_and_fetched(hub: dict[str, bytes], tmp_path: Path):
    code, printed = run("add", REPOSITORY)
    assert code == 0, printed
    values = yaml.safe_load(Path("data/pretrained/tiny.in1k/weights.yaml").read_text())
    weights = hub["model.safetensors"]
    assert values["sources"] == [{"repository": REPOSITORY, "revision": COMMIT, "file": "model.safetensors"}]
    assert (values["bytes"], values["sha256"]) == (len(weights), hashlib.sha256(weights).hexdigest())
    found = descriptions.load("tiny.in1k")
    assert (found.licence, found.architecture, found.image_size) == ("mit", ARCHITECTURE, 32)
    assert (found.mean, found.interpolation) == ((0.5, 0.4, 0.3), "bilinear")
    assert (found.resize, found.crop_fraction) == ("stretch", 0.9)
    assert printed.splitlines()[-1] == run()[1].splitlines()[-1] == found.command()

    (tmp_path / "scratch").mkdir()
    assert Path(fetched().stdout.strip()).read_bytes() == weights
    assert run("add", REPOSITORY)[0] == 1  # the folder exists


def test_without_a_connection_the_file_is_not_called_missing(hub: dict[str, bytes], monkeypatch: pytest.MonkeyPatch):
    run("add", REPOSITORY)
    Path("scratch").mkdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", "empty cache")
    done = fetched()
    assert done.returncode == 1 and f"the Hugging Face Hub, {REPOSITORY} (it cannot be reached)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["nobody/nothing"], "nobody/nothing is not a repository"),
        (["a/b/c"], "'a/b/c'"),
        ([REPOSITORY, "--revision", "v9"], "no revision 'v9'"),
        (["nobody/nothing", "--name", "../x"], "name '../x'"),  # before anything is downloaded
        ([REPOSITORY, "--name", "none"], "name 'none'"),
    ],
)
def test_what_cannot_be_added_ends_in_one_line(hub: dict[str, bytes], arguments: list[str], fact: str):
    code, printed = run("add", *arguments)
    assert code == 1 and fact in printed and "Traceback" not in printed
    assert not Path("data").exists() and not Path("x").exists()


@pytest.mark.parametrize("change", [{"config.json": b"{}"}, {"config.json": b"["}, {"model.safetensors": None}])
def test_what_is_no_network_of_timm_is_refused(hub: dict[str, bytes], change: dict[str, bytes | None]):
    hub.update(change)
    code, printed = run("add", REPOSITORY)
    assert code == 1 and REPOSITORY in printed and "Traceback" not in printed


def changed(**changes: object) -> bytes:
    """A config.json with other values of `pretrained_cfg`, or another architecture."""
    architecture = changes.pop("architecture", ARCHITECTURE)
    expected = {**CONFIG["pretrained_cfg"], **changes}
    return json.dumps({"architecture": architecture, "pretrained_cfg": expected}).encode()


@pytest.mark.parametrize(("licence", "text"), [(["mit", "other"], "mit, other"), (None, "unknown"), ([], "unknown")])
def test_unusual_statements_are_added(hub: dict[str, bytes], licence: object, text: str):
    hub.update({"config.json": changed(crop_pct=1.15), "licence": json.dumps(licence).encode()})
    code, printed = run("add", REPOSITORY)
    assert code == 0, printed
    found = descriptions.load("tiny.in1k")
    assert (found.crop_fraction, found.licence) == (None, text)


@pytest.mark.parametrize("architecture", ["dla34", "no_such_network"])
def test_a_network_that_cannot_be_trained_is_refused_before_its_weights_are_downloaded(
    hub: dict[str, bytes], architecture: str
):
    hub.update({"config.json": changed(architecture=architecture), "model.safetensors": None})
    code, printed = run("add", REPOSITORY)
    assert code == 1 and f"{REPOSITORY} cannot be used: " in printed and architecture in printed
    assert not Path("data").exists()


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code, printed = run("add", REPOSITORY)
    assert code == 1 and printed.count("\n") == 1
