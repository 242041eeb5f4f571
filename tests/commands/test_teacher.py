import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from darkroom import teacher
from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.models import checkpoints
from darkroom.models.inference import predict, probabilities
from darkroom.models.registry import build
from darkroom.teachers import descriptions
from stages import train
from tests import histories, packs, texts
from tests.commands import toys
from tests.networks import SMALL, small

TEST = toys.split(30, "test")
SPLITS = {"train": toys.split(120, "train"), "val": toys.split(24, "val"), "test": TEST}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty project with data/arrays, whose manifest is returned."""
    monkeypatch.chdir(tmp_path)
    toys.write(SPLITS)
    return packs.write("data/arrays", SPLITS, toys.DESCRIBED)


def train_by_hand(manifest: Manifest, seed: int = 0, family: str = "cnn", **params: object) -> torch.nn.Module:
    """A network with random weights in models/trained."""
    network = small(family, manifest.shape, 2, seed).eval()
    described = checkpoints.describe(family, SMALL[family], manifest, {"device": "cpu", **params})
    checkpoints.save("models/trained", network, described)
    return network


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("data/teachers").rglob("*") if path.is_file()}


def test_the_trained_network_is_kept_with_its_accuracy(data: Manifest):
    weights = {"title": "Big", "licence": "MIT", "sha256": "f" * 64, "family": "cnn"}
    network = train_by_hand(data, pretrained=weights)
    kept = teacher.keep("big", add=False, commit="abc")
    assert kept == descriptions.load("big")
    assert (kept.dataset, kept.classes) == ("toy", ("left", "right"))
    assert kept.test_examples_sha256 == data.test_examples_sha256
    (own,) = kept.networks
    assert (own.family, own.arguments, own.commit) == ("cnn", SMALL["cnn"], "abc")
    assert all(getattr(own, key) == getattr(data, key) for key in ("shape", "mean", "std", "test_sha256"))
    assert own.bytes == (kept.folder / own.file).stat().st_size
    assert own.pretrained.model_dump() == {key: weights[key] for key in ("title", "licence", "sha256")}
    saved = load_file(kept.folder / own.file)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in network.state_dict().items())
    found = predict(network, TEST.inputs, data.mean, data.std).argmax(1)
    assert kept.accuracy == (found == TEST.labels).mean()
    assert sorted(path.name for path in kept.folder.iterdir()) == ["1.safetensors", "teacher.json"]


def test_added_networks_answer_together(data: Manifest):
    answers = []
    for seed, family in enumerate(("cnn", "sprint", "cnn")):
        network = train_by_hand(data, seed, family)
        answers.append(probabilities(predict(network, TEST.inputs, data.mean, data.std)))
        kept = teacher.keep("big", add=seed > 0, commit="")
        assert kept.accuracy == (np.mean(answers, 0).argmax(1) == TEST.labels).mean()
    assert [str(network) for network in kept.networks] == ["cnn", "sprint", "cnn"]
    assert str(kept) == "3 networks (cnn, sprint)"
    for number, network in enumerate(kept.networks):
        rebuilt = build(network.family, network.arguments, network.shape, 2)
        rebuilt.load_state_dict(load_file(kept.folder / network.file))
        assert rebuilt.head.weight.equal(small(network.family, data.shape, 2, number).head.weight)


def test_what_cannot_be_kept_changes_nothing(data: Manifest):
    train_by_hand(data)
    teacher.keep("big", add=False, commit="")
    before = contents()
    for name, add, fact in (
        ("big", False, r"data/teachers/big exists.*--add"),
        ("other", True, r"data/teachers/other is not a teacher yet"),
        ("big", True, r"has this network already"),
        ("none", False, r"NAME = 'none'"),
        ("../x", False, r"NAME = '\.\./x'"),
        (".x", False, r"NAME = '\.x'"),
        ("a b", False, r"NAME = 'a b'"),
    ):
        with pytest.raises(DarkroomError, match=fact) as caught:
            teacher.keep(name, add, commit="")
        assert "\n" not in str(caught.value)
    path = Path("data/teachers/big/1.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    damaged = contents()
    train_by_hand(data, seed=1)
    with pytest.raises(DarkroomError, match="SHA-256"):
        teacher.keep("big", add=True, commit="")
    assert contents() == damaged and before.keys() == damaged.keys()
    assert not list(Path("data/teachers").glob(".*"))


def test_a_network_of_other_data_is_refused(data: Manifest):
    train_by_hand(data)
    teacher.keep("big", add=False, commit="")
    other = packs.write("data/arrays", SPLITS | {"test": toys.split(32, "test")}, toys.DESCRIBED)
    with pytest.raises(DarkroomError, match="other data than data/arrays"):
        teacher.keep("new", add=False, commit="")
    train_by_hand(other, seed=1)
    before = contents()
    with pytest.raises(DarkroomError, match="another test split"):
        teacher.keep("big", add=True, commit="")
    assert contents() == before


@pytest.mark.parametrize("add", [False, True])
def test_a_teacher_that_is_not_checked_out_is_not_replaced(data: Manifest, add: bool):
    train_by_hand(data)
    Path("data/teachers").mkdir()
    Path("data/teachers/big.dvc").touch()
    with pytest.raises(DarkroomError, match=r"dvc checkout data/teachers/big\.dvc"):
        teacher.keep("big", add=add, commit="")


@pytest.mark.parametrize("kind", [histories, texts])
def test_only_networks_of_images_are_teachers(tmp_path: Path, kind: ModuleType):
    shutil.rmtree(tmp_path / "data")
    kind.make(tmp_path)
    kind.train()
    with pytest.raises(DarkroomError, match=r"train\.distill needs images"):
        teacher.keep("films", add=False, commit="")
    assert not Path("data/teachers").exists()


def test_teachers_are_listed(data: Manifest, capsys: pytest.CaptureFixture):
    teacher.main([])
    assert "keep NAME" in capsys.readouterr().out
    train_by_hand(data)
    kept = teacher.keep("big", add=False, commit="")
    teacher.main([])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "network", "data", "set", "accuracy", "parameters", "size"]
    assert row.split()[:5] == ["big", "cnn", "toy", f"{kept.accuracy:.2%}", f"{kept.parameters:,}"]


def test_errors_end_in_one_line(data: Manifest):
    with pytest.raises(SystemExit, match=r"^teacher: dvc\.lock is missing") as ended:
        teacher.main(["keep", "big"])
    assert "\n" not in str(ended.value)
    with pytest.raises(SystemExit, match=r"^2$"):
        teacher.main(["forget", "big"])


def test_a_student_is_trained_of_a_kept_teacher(data: Manifest, capsys: pytest.CaptureFixture):
    train.main()
    teacher.keep("big", add=False, commit="")
    taught = {}
    for weight in (0.0, 0.9):
        values = yaml.safe_load(Path("params.yaml").read_text())
        values["train"]["distill"] = {"teacher": "big", "weight": weight, "temperature": 2.0}
        values["seed"] = 7
        Path("params.yaml").write_text(yaml.safe_dump(values))
        train.main()
        network, description = checkpoints.load("models/trained")
        assert description.params["teacher"]["networks"][0]["sha256"] == descriptions.load("big").networks[0].sha256
        taught[weight] = network.head.weight
    assert not torch.equal(taught[0.0], taught[0.9])
    assert "teacher big: cnn, test accuracy" in capsys.readouterr().out
    measured = json.loads(Path("metrics/train.json").read_text())
    assert measured["teacher_accuracy"] == descriptions.load("big").accuracy
