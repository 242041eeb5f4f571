import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.arrays import Augmentation
from darkroom.train import memory
from darkroom.train.batches import Batches
from darkroom.train.config import AugmentConfig
from darkroom.train.unlabelled import Unlabelled, shuffled, strong, weak
from tests.trainings import CPU, NO_AUGMENTATION, manifest, split

LABELLED, UNLABELLED = split(20, 1), split(90, 3)
DATA = manifest(LABELLED)
STRONG = NO_AUGMENTATION.model_copy(update={"flip": "random", "shift": 2, "policy": "trivial", "cutmix": 1.0})


def make(ratio: int = 3, batch_size: int = 8, has_strong_view: bool = True, augment: AugmentConfig = STRONG) -> Batches:
    more = Unlabelled(UNLABELLED, DATA, augment, ratio, has_strong_view, 0, CPU)
    return Batches(LABELLED, DATA, augment, batch_size, 0, CPU, unlabelled=more)


def test_an_epoch_shows_all_examples_of_both_kinds():
    source = make(augment=NO_AUGMENTATION, has_strong_view=False)
    assert (source.steps, source.examples) == (4, 32)  # 4 x 8 x 3 = 96 unlabelled ones
    found = list(source.epoch(0, 0, 4))
    assert [len(batch.inputs) for batch in found] == [8] * 4
    assert all(batch.weak.shape == (8, 3, 1, 10, 10) and batch.strong is batch.weak for batch in found)
    assert len(torch.cat([batch.inputs for batch in found]).flatten(1).unique(dim=0)) == 20
    assert len(torch.cat([batch.weak for batch in found]).flatten(0, 1).flatten(1).unique(dim=0)) == 90


def test_few_unlabelled_examples_are_repeated():
    source = make(ratio=9, batch_size=2)
    assert (source.steps, source.examples) == (10, 20)
    assert sum(batch.weak.flatten(0, 1).shape[0] for batch in source.epoch(0, 0, 10)) == 180


@given(count=st.integers(1, 30), wanted=st.integers(1, 100))
def test_every_pass_has_all_examples(count: int, wanted: int):
    order = shuffled(count, wanted, torch.Generator().manual_seed(0))
    assert len(order) == wanted
    counts = torch.bincount(order, minlength=count)
    assert counts.max() - counts.min() <= 1


def test_the_labelled_inputs_are_those_of_a_supervised_training():
    alone = Batches(LABELLED, DATA, STRONG, 2, 0, CPU)
    for batch, other in zip(make(ratio=9, batch_size=2).epoch(1, 0, 10), alone.epoch(1, 0, 10), strict=True):
        assert torch.equal(batch.inputs, other.inputs) and torch.equal(batch.targets, other.targets)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_parts_equal_the_split_bit_for_bit(size: int):
    source = make()
    whole = list(source.epoch(1, 1, 4))
    for rank in range(size):
        for part, batch in zip(source.epoch(1, 1, 4, (rank, size)), whole, strict=True):
            assert all(torch.equal(*pair) for pair in zip(part, batch.split(size)[rank], strict=True))


def test_views_do_not_depend_on_earlier_steps_or_on_memory(monkeypatch: pytest.MonkeyPatch):
    whole = list(make().epoch(1, 0, 4))
    monkeypatch.setattr(memory, "free", lambda device: 10)
    for batch, other in zip(make().epoch(1, 2, 4), whole[2:], strict=True):
        assert all(torch.equal(*pair) for pair in zip(batch, other, strict=True))


def test_weak_and_strong_views_are_different_views_of_the_same_examples():
    batch = next(make().epoch(0, 0, 1))
    assert batch.weak.shape == batch.strong.shape
    assert not torch.equal(batch.weak, batch.strong)
    plain = next(make(augment=NO_AUGMENTATION).epoch(0, 0, 1))
    same = (plain.weak == plain.strong).flatten(2).all(2)
    assert 0 < same.sum() < same.numel()  # an image without erasing may get the identity twice


def test_augmentation_of_the_views():
    data = DATA.__class__(**{**vars(DATA), "augmentation": Augmentation(flip=True, shift=4)})
    given = NO_AUGMENTATION.model_copy(
        update={"flip": "auto", "shift": "auto", "min_crop_area": 0.5, "mixup": 1.0, "random_erasing": 0.9}
    )
    one, other = weak(given, data), strong(given, data)
    assert (one.flip, one.shift, one.min_crop_area) == ("random", 4, 0.5)
    assert (one.random_erasing, one.policy, one.mixup) == (0.0, "none", 0.0)
    assert (other.flip, other.shift, other.random_erasing, other.policy, other.mixup) == ("random", 4, 0.9, "rand", 0.0)
    assert strong(STRONG, DATA).policy == "trivial" and strong(STRONG, DATA).random_erasing == 0.5
    four_channels = DATA.__class__(**{**vars(DATA), "shape": (10, 10, 4)})
    assert strong(NO_AUGMENTATION, four_channels).policy == "none"
