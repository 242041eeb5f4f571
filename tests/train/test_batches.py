from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.core import params
from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.train import batches, config, memory
from darkroom.train.batches import Batches

AUGMENT = params.load("train", path=Path(__file__).parents[2] / "params.yaml").augment
NONE = AUGMENT.model_copy(update={"flip": "none", "shift": 0, "erase": 0.0, "crop": 1.0, "mixup": 0.0, "cutmix": 0.0})
ALL = NONE.model_copy(update={"flip": "random", "shift": 2, "erase": 0.5, "crop": 0.5, "mixup": 0.4, "cutmix": 1.0})
CPU = torch.device("cpu")


def make(
    augment: config.Augment, n: int = 50, batch_size: int = 16, seed: int = 0, allowed: Augmentation | None = None
) -> Batches:
    random = np.random.default_rng(1)
    images = random.integers(256, size=(n, 8, 9, 2), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)  # tells the pictures apart
    train = Split(images, np.arange(n) % 3, np.array([str(number) for number in range(n)]))
    manifest = Manifest(
        "toy",
        "Toy",
        "CC0",
        ("a", "b", "c"),
        (8, 9, 2),
        (0.0, 0.5),
        (1 / 255, 0.3),
        {"train": n},
        allowed or Augmentation(False, 0),
        "0",
    )
    return Batches(train, manifest, augment, batch_size, seed, CPU)


def epoch(source: Batches, number: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(source.epoch(number, 0, source.steps))


def test_an_epoch_shows_every_picture_once_in_batches_of_equal_size():
    shown = epoch(make(NONE))
    assert [len(images) for images, _ in shown] == [13, 13, 12, 12]
    names = torch.cat([images[:, 0, 0, 0] for images, _ in shown]).round().long()
    assert names.sort().values.tolist() == list(range(50))
    assert torch.equal(torch.cat([labels for _, labels in shown]), names % 3)


def test_epochs_and_seeds_differ_in_order():
    first, second, other = epoch(make(NONE), 0), epoch(make(NONE), 1), epoch(make(NONE, seed=1), 0)
    assert not torch.equal(first[0][1], second[0][1])
    assert not torch.equal(first[0][0], other[0][0])


def test_pictures_read_from_disk_are_shown_as_those_held(monkeypatch: pytest.MonkeyPatch):
    held = make(ALL)
    monkeypatch.setattr(memory, "free", lambda device: 1000)
    read = make(ALL)
    assert held.held is not None
    assert read.held is None
    for one, other in zip(epoch(held), epoch(read), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_part_of_an_epoch_is_the_same_as_in_the_whole():
    whole = epoch(make(ALL), 3)
    for number, (images, targets) in enumerate(make(ALL).epoch(3, 2, 4), 2):
        assert torch.equal(images, whole[number][0])
        assert torch.equal(targets, whole[number][1])


def test_mixed_targets_are_shares_of_classes():
    images, targets = epoch(make(NONE.model_copy(update={"mixup": 1.0})))[0]
    assert targets.shape == (len(images), 3)
    assert torch.allclose(targets.sum(1), torch.ones(len(images)))
    assert ((targets > 0).sum(1) == 2).any()


def test_auto_is_what_the_dataset_allows():
    chosen = make(
        NONE.model_copy(update={"flip": "auto", "shift": "auto"}), allowed=Augmentation(flip=True, shift=3)
    ).augment
    assert (chosen.flip, chosen.shift) == ("alternating", 3)
    chosen = make(NONE.model_copy(update={"flip": "auto", "shift": "auto"})).augment
    assert (chosen.flip, chosen.shift) == ("none", 0)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(DarkroomError, match=r"train\.batch_size = 51 is more than the 50 training pictures"):
        make(NONE, batch_size=51)


def test_the_sample_is_of_the_pictures_as_they_are():
    source = make(ALL)
    assert source.sample(1000)[:, 0, 0, 0].round().long().sort().values.tolist() == list(range(50))
    assert len(source.sample(7)) == 7


def test_what_fits_is_held(monkeypatch: pytest.MonkeyPatch):
    images = np.zeros((10, 10, 10, 1), dtype=np.uint8)
    monkeypatch.setattr(memory, "free", lambda device: 2000)
    assert batches._fits(images, CPU)
    monkeypatch.setattr(memory, "free", lambda device: 1998)
    assert not batches._fits(images, CPU)
