from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores
from darkroom.models import checkpoints
from darkroom.models.checkpoints import open_trained
from tests import packs
from tests.networks import SMALL, small

KNOWN = {
    "dataset": "toys",
    "title": "Toys",
    "licence": "CC0-1.0",
    "classes": ("a", "b", "c"),
    "augmentation": Augmentation(flip=False, shift=0),
}


def pack(first: int = 0) -> Manifest:
    """Write data/arrays: three splits of 9, 6 and 3 images."""
    random = np.random.default_rng(first)
    splits = {
        name: Split(
            random.integers(256, size=(n, 10, 12, 1), dtype=np.uint8),
            np.arange(n) % 3,
            np.array([f"{name}/{number}" for number in range(n)]),
        )
        for name, n in (("train", 9), ("val", 6), ("test", 3))
    }
    return packs.write("data/arrays", splits, KNOWN)


def save(manifest: Manifest, device: str = "auto") -> dict[str, torch.Tensor]:
    network = small("sprint", manifest.shape)
    description = checkpoints.describe("sprint", SMALL["sprint"], manifest, {"device": device})
    checkpoints.save("models/trained", network, description)
    return network.state_dict()


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_model_is_opened_with_its_data():
    manifest = pack()
    weights = save(manifest)
    opened = open_trained()
    assert all(torch.equal(tensor, opened.network.state_dict()[name]) for name, tensor in weights.items())
    assert not opened.network.training
    assert opened.manifest == manifest
    assert opened.description.data_sha256 == manifest.sha256
    assert {name: len(opened.split(name)) for name in ("train", "val", "test")} == {"train": 9, "val": 6, "test": 3}
    assert opened.threads == torch.get_num_threads() == cores()


def test_other_data_is_rejected():
    save(pack())
    pack(first=1)
    with pytest.raises(DarkroomError, match=r"data/arrays \(toys\)"):
        open_trained()


def test_missing_model_and_missing_data_are_named():
    manifest = pack()
    with pytest.raises(DarkroomError, match=r"models/trained/model\.json is missing"):
        open_trained()
    save(manifest)
    Path("data/arrays/manifest.json").unlink()
    with pytest.raises(DarkroomError, match=r"data/arrays/manifest\.json is missing"):
        open_trained()


@pytest.mark.parametrize(("trained_on", "wanted"), [("cpu", "cpu"), ("cuda", "auto"), ("mps", "auto")])
def test_device_is_a_gpu_if_there_is_one_unless_trained_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, trained_on: str, wanted: str
):
    save(pack(), trained_on)
    monkeypatch.setattr(checkpoints.hardware, "choose_device", lambda name: name)
    assert open_trained().device == wanted
