"""Hold deploy/ and docs/serving.md to the service. No image is built; its files are run with its own command."""

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
from tests import bundles, text_bundles
from tests.code import libraries, read_by

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "serving.md"
SERVICE = read_by("darkroom/serve/__main__.py")
BY_NAME = {"httptools", "uvloop"}  # uvicorn imports them, by its settings
BROUGHT = {"pydantic-core", "starlette"}  # installed with pydantic and FastAPI, in matching versions
TRAINING = {"torch", "torchvision", "pandas", "scipy", "matplotlib", "sklearn", "onnx", "onnxscript"}
BUNDLE = "models/bundle"
KEY = "a-key-of-the-test's"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE).replace(
        "\\\n", " "
    )
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def instruction(wanted: str) -> str:
    (found,) = (rest for name, rest in instructions() if name == wanted)
    return found


def copies() -> list[tuple[str, str]]:
    """Source and target of everything that the Dockerfile copies from the project."""
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


def project_pins() -> set[str]:
    return {pin for part in (ROOT / "requirements").iterdir() for pin in pins(part)}


def objects(name: str) -> dict[str, dict[str, Any]]:
    """The Kubernetes objects in a file, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8"))}


def container() -> dict[str, Any]:
    (found,) = objects("kubernetes.yaml")["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


@dataclass(frozen=True)
class Running:
    """The service as the image would run it."""

    process: subprocess.Popen
    address: str
    home: Path


@pytest.fixture(scope="module", params=[bundles.write, text_bundles.write], ids=["images", "texts"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The image's files with a bundle, run by the image's command at a free port of the loopback interface."""
    folder = tmp_path_factory.mktemp("image")
    for source, target in copies():
        if source == BUNDLE:
            request.param(folder / target)
        elif (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, folder / target)
    python, *command = json.loads(instruction("ENTRYPOINT"))
    assert python == "python"
    (home := folder / "home").mkdir()
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
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            first = process.stderr.readline()
            assert first.startswith("http://"), first + process.stderr.read()
            address = first.partition(" ")[0]
            with httpx.Client(transport=httpx.HTTPTransport(retries=6)) as client:  # it listens soon after it prints
                client.get(address)
            yield Running(process, address, home)
        finally:
            process.kill()


def test_requirements_have_the_pins_of_the_project():
    assert pins(DEPLOY / "requirements.txt") - project_pins() == set()


@pytest.mark.parametrize("room", ["bundle", "inputs", "predict", "serve", "explain/occlusion.py"])
def test_production_rooms_import_nothing_of_the_training(room: str):
    path = ROOT / "darkroom" / room
    for file in [path] if path.is_file() else path.rglob("*.py"):
        assert libraries(file.relative_to(ROOT).as_posix()) & TRAINING == set(), file


def test_requirements_are_the_imports_of_service_and_predict():
    names = libraries("darkroom/serve/__main__.py") | libraries("darkroom/predict/__main__.py")
    providers = importlib.metadata.packages_distributions()
    imported = {providers[name][0].lower().replace("_", "-") for name in names}
    listed = {pin.partition("==")[0] for pin in pins(DEPLOY / "requirements.txt")}
    assert imported - BROUGHT | BY_NAME == listed


def test_the_image_holds_exactly_the_modules_of_the_service():
    sources = [source for source, _ in copies()]
    assert [source for source in sources if source != BUNDLE and not (ROOT / source).exists()] == []
    files = [
        file for source in sources for file in [ROOT / source, *(ROOT / source).rglob("*")] if file.suffix == ".py"
    ]
    assert {file.relative_to(ROOT).as_posix() for file in files} == SERVICE


def test_the_build_context_contains_everything_that_is_copied():
    shown = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert [source for source, _ in copies() if not any(Path(source).is_relative_to(path) for path in shown)] == []


def test_the_image_runs_as_an_unprivileged_user():
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


def test_pods_have_time_to_end_and_no_privileges():
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


def test_the_kubernetes_service_selects_the_pods():
    found = objects("kubernetes.yaml")
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels == found["Service"]["spec"]["selector"]
    (port,) = found["Service"]["spec"]["ports"]
    (open_port,) = container()["ports"]
    assert port["targetPort"] == open_port["name"]
    assert open_port["containerPort"] == Settings().port


def test_kserve_uses_triton_and_the_same_protocol():
    (kind, service), *others = objects("kserve.yaml").items()
    assert (kind, service["apiVersion"], others) == ("InferenceService", "serving.kserve.io/v1beta1", [])
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "triton"}
    assert model["protocolVersion"] == "v2"
    assert model["storageUri"].endswith("/repository")


def test_the_page_lists_exactly_the_options_of_the_service():
    options = {
        option for action in parser()._actions for option in action.option_strings if option.startswith("--")
    } - {"--help"}
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"`(--[a-z0-9-]+)`", page)) >= options
    commands = " ".join(re.findall(r"(?:darkroom\.serve|-e DARKROOM_API_KEY darkroom) ([^\n`]*)", page))
    assert set(re.findall(r"--[a-z0-9-]+", commands)) <= {*options, "--help"}


def test_the_image_ends_cleanly_and_writes_no_files(running: Running):
    running.process.terminate()
    assert running.process.wait(timeout=20) == 0
    assert list(running.home.rglob("*")) == []  # ONNX Runtime's telemetry would write there
