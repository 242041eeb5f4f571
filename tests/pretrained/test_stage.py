import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from darkroom.models.registry import build
from darkroom.weights import pretrained
from stages import pretrained as stage
from tests.code import ROOT
from tests.pretrained.weights import put, tensors


def choose(name: str) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"model": {"pretrained": name}}))


def run(chosen: str) -> subprocess.CompletedProcess:
    choose(chosen)
    Path("data").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "stages.pretrained"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_no_weights_are_an_output_too():
    assert run("none").returncode == 0
    assert pretrained.read(pretrained.FOLDER) is None


@pytest.mark.parametrize("script", ["check", "pretrained", "fetch"])
def test_pytorch_is_not_imported_where_nothing_needs_it(script: str):
    code = f"import sys, stages.{script}; print(*({{'torch', 'scipy.stats'}} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == []


def test_weights_are_verified_converted_and_loaded():
    put("tiny")
    done = run("tiny")
    assert done.returncode == 0, done.stderr
    assert "licence: MIT" in done.stdout
    assert pretrained.read(pretrained.FOLDER).name == "tiny"
    network = build("timm", {"architecture": "test_resnet"}, (40, 40, 3), 4)
    random = pretrained.load(pretrained.FOLDER, network)
    assert random == [f"{layer}.{kind}" for layer in network.adapted for kind in ("weight", "bias")]
    given = tensors()
    assert all(torch.equal(one, given[name]) for name, one in network.state_dict().items() if name not in random)
    assert not list(Path("data").glob(".tmp-*"))


@pytest.mark.parametrize(("licence", "warned"), [("unknown", True), ("MIT", False)])
def test_a_licence_that_is_not_stated_is_a_warning(
    licence: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    put("tiny", licence=licence)
    choose("tiny")
    stage.main()
    assert ("Warning: Tiny: its licence is not stated" in capsys.readouterr().out) == warned


@pytest.mark.parametrize("byte", [0, 100, -1])
def test_one_changed_byte_ends_in_one_line_and_keeps_what_was_there(byte: int):
    file = put("tiny") / "model.safetensors"
    choose("tiny")
    stage.main()
    before = {path: path.read_bytes() for path in Path(pretrained.FOLDER).iterdir()}
    contents = bytearray(file.read_bytes())
    contents[byte] ^= 1
    file.write_bytes(contents)
    done = run("tiny")
    assert done.returncode == 1 and "SHA-256" in done.stderr and "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in Path(pretrained.FOLDER).iterdir()} == before
