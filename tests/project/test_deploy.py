"""Holds deploy/ and docs/deploy.md to what they run: no image is built, but what would be in it is run by the image's own command."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from darkroom.serve.__main__ import _parser as parser
from darkroom.serve.settings import KEY_VARIABLE, Settings
from tests import bundles
from tests.code import read_by

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
SERVICE = read_by("darkroom/serve/__main__.py")
BY_NAME = {"httptools", "uvloop"}  # uvicorn imports them as its settings say
BROUGHT = {"pydantic-core", "starlette"}  # by pydantic and FastAPI, in the versions that they go with
BUNDLE = "models/bundle"
KEY = "a-key-of-the-test's"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, each with what follows it."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE).replace(
        "\\\n", " "
    )
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def instruction(wanted: str) -> str:
    (found,) = (rest for name, rest in instructions() if name == wanted)
    return found


def copies() -> list[tuple[str, str]]:
    """What the Dockerfile copies from the project, each with where to."""
    return [
        (source, target)
        for name, rest in instructions()
        if name == "COPY"
        for *sources, target in [rest.split()]
        for source in sources
    ]


def pins(path: Path) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line}


def objects(name: str) -> dict[str, dict[str, Any]]:
    """What a file asks of Kubernetes, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8"))}


def container() -> dict[str, Any]:
    (found,) = objects("kubernetes.yaml")["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


@dataclass(frozen=True)
class Running:
    """The image's process, as far as there is one without Docker."""

    process: subprocess.Popen
    address: str
    home: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """What the image holds, in a folder of its own, run by the image's command; but at a free port that only this machine reaches."""
    place = tmp_path_factory.mktemp("image")
    for source, target in copies():
        if source == BUNDLE:
            bundles.write(place / target)
        elif (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (place / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place / target)
    python, *command = json.loads(instruction("ENTRYPOINT"))
    assert python == "python"
    (home := place / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        KEY_VARIABLE: KEY,
        **dict(pair.split("=") for pair in instruction("ENV").split()),
    }
    arguments = [
        sys.executable,
        *command,
        *container()["args"],
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--drain-delay",
        "0",
    ]
    with subprocess.Popen(
        arguments, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            first = process.stderr.readline()
            assert first.startswith("http://"), first + process.stderr.read()
            address = first.partition(" ")[0]
            with httpx.Client(
                transport=httpx.HTTPTransport(retries=6)
            ) as patient:  # it prints the address just before it listens there
                patient.get(address)
            yield Running(process, address, home)
        finally:
            process.kill()


def test_requirements_are_pins_of_the_projects():
    assert pins(DEPLOY / "requirements.txt") - pins(ROOT / "requirements.txt") == set()


def test_requirements_are_what_the_service_imports_and_no_more():
    modules = SERVICE | read_by("darkroom/predict/__main__.py")
    names = {name.partition(".")[0] for module in modules for name in imported_names(module)}
    providers = importlib.metadata.packages_distributions()
    imported = {providers[name][0].lower().replace("_", "-") for name in names - sys.stdlib_module_names - {"darkroom"}}
    listed = {pin.partition("==")[0] for pin in pins(DEPLOY / "requirements.txt")}
    assert imported - BROUGHT | BY_NAME == listed


def test_the_image_holds_the_modules_of_the_service_and_no_more():
    sources = [source for source, _ in copies()]
    assert [source for source in sources if source != BUNDLE and not (ROOT / source).exists()] == []
    files = [
        file for source in sources for file in [ROOT / source, *(ROOT / source).rglob("*")] if file.suffix == ".py"
    ]
    assert {file.relative_to(ROOT).as_posix() for file in files} == SERVICE


def test_the_builder_is_shown_what_is_copied():
    shown = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert [source for source, _ in copies() if not any(Path(source).is_relative_to(place) for place in shown)] == []


def test_the_image_runs_without_rights():
    names = [name for name, _ in instructions()]
    assert int(instruction("USER")) > 0
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_the_images_command_becomes_ready_without_torch(running: Running):
    _, _, probe = instruction("HEALTHCHECK").partition("CMD ")
    python, *arguments = (part.replace("http://127.0.0.1:8000", running.address) for part in json.loads(probe))
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert instruction("EXPOSE") == str(Settings().port)
    loaded = Path(f"/proc/{running.process.pid}/maps")
    assert not loaded.exists() or "libtorch" not in loaded.read_text()


def test_probes_and_metrics_are_routes_of_the_service(running: Running):
    pod = objects("kubernetes.yaml")["Deployment"]["spec"]["template"]
    probes = [container()[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {"http"}
    assert [httpx.get(running.address + probe["path"]).status_code for probe in probes] == [200, 200, 200]
    metrics = running.address + pod["metadata"]["annotations"]["prometheus.io/path"]
    assert httpx.get(metrics).status_code == 401
    assert httpx.get(metrics, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_pods_have_time_to_leave_and_no_rights():
    deployment = objects("kubernetes.yaml")["Deployment"]["spec"]
    pod, only = deployment["template"]["spec"], container()
    settings = parser().parse_args(only["args"])
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay + 10
    assert settings.threads == int(only["resources"]["limits"]["cpu"])
    assert only["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(instruction("USER"))
    (secret,) = only["env"]
    assert secret["name"] == KEY_VARIABLE
    assert set(secret["valueFrom"]) == {"secretKeyRef"}


def test_the_services_address_leads_to_the_pods():
    found = objects("kubernetes.yaml")
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels == found["Service"]["spec"]["selector"]
    (port,) = found["Service"]["spec"]["ports"]
    (open_port,) = container()["ports"]
    assert port["targetPort"] == open_port["name"]
    assert open_port["containerPort"] == Settings().port


def test_kserve_runs_it_with_triton_by_the_same_protocol():
    (kind, service), *others = objects("kserve.yaml").items()
    assert (kind, service["apiVersion"], others) == ("InferenceService", "serving.kserve.io/v1beta1", [])
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "triton"}
    assert model["protocolVersion"] == "v2"
    assert model["storageUri"].endswith("/repository")


def test_the_page_tells_every_option_and_none_that_is_not_there():
    options = {
        option for action in parser()._actions for option in action.option_strings if option.startswith("--")
    } - {"--help"}
    assert set(re.findall(r"`(--[a-z0-9-]+)`", PAGE)) >= options
    commands = " ".join(re.findall(r"(?:darkroom\.serve|-e DARKROOM_API_KEY darkroom) ([^\n`]*)", PAGE))
    assert set(re.findall(r"--[a-z0-9-]+", commands)) <= {*options, "--help"}


def test_the_image_leaves_in_order_and_leaves_nothing_behind(running: Running):
    running.process.terminate()
    assert running.process.wait(timeout=20) == 0
    assert list(running.home.rglob("*")) == []  # ONNX Runtime would keep there what it reports
