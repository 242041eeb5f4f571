import json
import resource
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.core.arrays import Augmentation, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.models.checkpoints import describe, load, require_same_data, save
from tests.networks import OWN, SMALL, small
from tests.packs import AS_IS

MANIFEST = Manifest(
    dataset="toys",
    title="Toys of wood",
    licence="CC0-1.0",
    classes=("round", "square", "ähnlich"),
    shape=(12, 11, 3),
    mean=(0.1, 0.2, 1 / 3),
    std=(0.3, 0.2, 0.1),
    counts={"train": 6, "val": 2, "test": 2},
    augmentation=Augmentation(flip=False, shift=1),
    sha256="a" * 64,
    **AS_IS,
)


def trained(name="resnet"):
    """A network whose batch norms have seen data, and its description."""
    network = small(name, MANIFEST.shape, len(MANIFEST.classes))
    network(torch.randn(8, 3, 12, 11))
    return network, describe(name, SMALL[name], MANIFEST, {"seed": 1, "lr": 0.1, "augment": {"flip": "auto"}})


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "trained", *trained())
    return tmp_path / "trained"


@pytest.mark.parametrize("name", OWN)
def test_saved_network_is_loaded_bit_for_bit(tmp_path, name):
    network, description = trained(name)
    save(tmp_path / "trained", network, description)
    loaded, described = load(tmp_path / "trained")
    assert described == description
    weights, again = network.state_dict(), loaded.state_dict()
    assert list(weights) == list(again)
    assert all(torch.equal(weights[key], again[key]) and weights[key].dtype == again[key].dtype for key in weights)
    images = torch.randn(4, 3, 12, 11)
    assert torch.equal(loaded(images), network.eval()(images))
    assert not loaded.training


def test_bytes_do_not_depend_on_the_memory_format(tmp_path, folder):
    network, description = trained()
    save(tmp_path / "again", network.to(memory_format=torch.channels_last), description)
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_layers_may_share_weights(tmp_path):
    network, description = trained()
    network.tied = network.head
    save(tmp_path / "trained", network, description)
    weights = load_file(tmp_path / "trained" / "model.safetensors")
    assert weights.keys() == network.state_dict().keys()
    assert torch.equal(weights["tied.weight"], network.head.weight)


def test_description_takes_its_data_fields_from_the_manifest():
    _, description = trained()
    assert description.name == "resnet"
    assert description.arguments == SMALL["resnet"]
    assert description.data_sha256 == "a" * 64
    shared = ("dataset", "title", "licence", "classes", "shape", "mean", "std")
    assert [getattr(description, field) for field in shared] == [getattr(MANIFEST, field) for field in shared]


@pytest.mark.parametrize("change", [{"sha256": "b" * 64}, {"classes": ("round", "square", "other")}])
def test_other_data_is_rejected(change):
    _, description = trained()
    require_same_data(description, MANIFEST)
    with pytest.raises(DarkroomError, match=r"models/trained .*data/arrays \(toys\)"):
        require_same_data(description, replace(MANIFEST, **change))


def test_full_disk_is_reported_as_the_system_reports_it(folder):
    """As an OSError, whose number `stage.run` explains; here the cause is the limit on a file's size."""
    before = (folder / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(folder, *trained("sprint"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "model.safetensors").read_bytes() == before


def test_failed_save_keeps_the_earlier_model(folder):
    network, description = trained()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="JSON"):
        save(folder, network, replace(description, params={"lr": float("nan")}))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DarkroomError, match=rf"{name} is missing.*dvc repro train"):
        load(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, -1])
def test_truncated_file_is_rejected(folder, name, keep):
    contents = (folder / name).read_bytes().rstrip()
    (folder / name).write_bytes(contents[:keep])
    with pytest.raises(DarkroomError, match="cannot be read"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "no such family"},
        {"arguments": {"channels": 5}},  # another network's weights
        {"arguments": {"no such argument": 1}},
        {"classes": ["round", "square"]},
        {"shape": [12, 11, 1]},
        {"shape": 12},
        {"no such field": 1},
    ],
)
def test_description_that_does_not_fit_the_weights_is_rejected(folder, change):
    fields = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(fields | change), encoding="utf-8")
    with pytest.raises(DarkroomError, match="cannot be read"):
        load(folder)


@pytest.mark.parametrize("contents", ["[]", "null", "{}"])
def test_other_json_is_rejected(folder, contents):
    (folder / "model.json").write_text(contents, encoding="utf-8")
    with pytest.raises(DarkroomError, match="cannot be read"):
        load(folder)


def test_missing_and_additional_weights_are_rejected(folder):
    weights = load_file(folder / "model.safetensors")
    for altered in (
        {key: value for key, value in weights.items() if key != "head.bias"},
        {**weights, "more": torch.zeros(1)},
    ):
        save_file(altered, folder / "model.safetensors")
        with pytest.raises(DarkroomError, match="cannot be read"):
            load(folder)
