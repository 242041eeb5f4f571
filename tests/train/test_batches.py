from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.core import arrays
from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.cropping import centre
from darkroom.train import loading, memory
from darkroom.train.batches import Batches
from darkroom.train.config import AugmentConfig
from tests.packs import AS_IS
from tests.trainings import CPU, NO_AUGMENTATION

ALL = NO_AUGMENTATION.model_copy(
    update={
        "flip": "random",
        "shift": 2,
        "random_erasing": 0.5,
        "min_crop_area": 0.5,
        "max_crop_aspect": 1.5,
        "color_jitter": 0.4,
        "policy": "trivial",
        "mixup": 0.4,
        "cutmix": 1.0,
    }
)


def make(
    augment: AugmentConfig,
    n: int = 50,
    batch_size: int = 16,
    seed: int = 0,
    suitable: Augmentation | None = None,
    shape: tuple[int, ...] = (8, 9, 3),
    larger: int = 0,  # rows and columns of the packed images that the network does not see
    local_count: int = 1,
) -> Batches:
    random = np.random.default_rng(1)
    packed = (shape[0] + larger, shape[1] + larger, shape[2]) if larger else shape
    uncropped = random.integers(256, size=(n, *packed), dtype=np.uint8)
    size = shape[:2] if larger else None
    train = Split(uncropped, np.arange(n) % 3, np.array([str(number) for number in range(n)]), size)
    train.inputs.reshape(n, -1)[:, 0] = np.arange(n)  # tells the inputs apart
    manifest = Manifest(
        dataset="toy",
        title="Toy",
        licence="CC0",
        classes=("a", "b", "c"),
        shape=shape,
        mean=(0.0, 0.5, 0.2)[: shape[-1]],
        std=(1 / 255, 0.3, 0.2)[: shape[-1]],
        counts={"train": n},
        augmentation=suitable or Augmentation(False, 0),
        sha256="0",
        **AS_IS,
    )
    return Batches(train, manifest, augment, batch_size, seed, CPU, local_count)


def epoch(source: Batches, number: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(source.epoch(number, 0, source.steps))


@pytest.mark.parametrize("shape", [(8, 9, 3), (4, 2), (2,)])
def test_epoch_holds_every_input_once_in_batches_of_equal_size(shape: tuple[int, ...]):
    shown = epoch(make(NO_AUGMENTATION, shape=shape))
    assert [len(inputs) for inputs, _ in shown] == [13, 13, 12, 12]
    numbers = torch.cat([inputs.flatten(1)[:, 0] for inputs, _ in shown]).round().long()
    assert numbers.sort().values.tolist() == list(range(50))
    assert torch.equal(torch.cat([labels for _, labels in shown]), numbers % 3)


def test_epochs_and_seeds_differ_in_order():
    first, second = epoch(make(NO_AUGMENTATION), 0), epoch(make(NO_AUGMENTATION), 1)
    other = epoch(make(NO_AUGMENTATION, seed=1), 0)
    assert not torch.equal(first[0][1], second[0][1])
    assert not torch.equal(first[0][0], other[0][0])


def test_batches_read_from_disk_equal_those_held_in_memory(monkeypatch: pytest.MonkeyPatch):
    held = make(ALL)
    monkeypatch.setattr(memory, "free", lambda device: 1000)
    read = make(ALL)
    assert held.loader.in_memory is not None
    assert read.loader.in_memory is None
    for one, other in zip(epoch(held), epoch(read), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_inputs_are_held_in_memory_up_to_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch):
    size = 50 * 8 * 9 * 3
    monkeypatch.setattr(memory, "free", lambda device: 2 * size)
    assert make(ALL).loader.in_memory is not None
    monkeypatch.setattr(memory, "free", lambda device: 2 * size - 2)
    assert make(ALL).loader.in_memory is None


@pytest.mark.parametrize("local_count", [2, 3])
def test_processes_of_a_machine_share_its_free_memory(local_count: int, monkeypatch: pytest.MonkeyPatch):
    size = 50 * 8 * 9 * 3
    monkeypatch.setattr(memory, "free", lambda device: 2 * size * local_count)
    assert make(ALL, local_count=local_count).loader.in_memory is not None
    assert make(ALL, local_count=local_count + 1).loader.in_memory is None


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("rows", [0.5, 1, 3, 7, 100])
def test_inputs_are_copied_to_a_device_in_blocks(
    dtype: type, rows: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    np.save(tmp_path / "inputs.npy", np.arange(7 * 6 * 5).reshape(7, 6, 5, 1).astype(dtype))
    mapped = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    sizes = []
    read_into = arrays.read_into
    monkeypatch.setattr(arrays, "read_into", lambda out, *rest: (sizes.append(out.nbytes), read_into(out, *rest)))
    for inputs in (mapped, np.array(mapped), centre(mapped, (4, 3))):
        sizes.clear()
        limit = int(rows * inputs[0].nbytes)
        monkeypatch.setattr(loading, "BLOCK_BYTES", limit)
        out = torch.zeros(inputs.shape, dtype=torch.from_numpy(inputs[:0].copy()).dtype)
        loading.fill(out, inputs)
        assert np.array_equal(out.numpy(), inputs)
        assert max(sizes) <= max(limit, inputs[0].nbytes)


def test_part_of_an_epoch_equals_the_same_steps_of_the_whole():
    whole = epoch(make(ALL), 3)
    for number, (inputs, targets) in enumerate(make(ALL).epoch(3, 2, 4), 2):
        assert torch.equal(inputs, whole[number][0])
        assert torch.equal(targets, whole[number][1])


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.0}, {"cutmix": 0.0}, {"mixup": 0.0, "cutmix": 0.0}])
@pytest.mark.parametrize("free", [1000, 10**9])
@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_parts_equal_the_split_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, size: int, free: int, changes: dict[str, float]
):
    augment = ALL.model_copy(update=changes)
    whole = list(make(augment).epoch(1, 1, 4))
    monkeypatch.setattr(memory, "free", lambda device: free)
    source = make(augment)
    for rank in range(size):
        for batch, part in zip(whole, source.epoch(1, 1, 4, (rank, size)), strict=True):
            expected = batch.split(size)[rank]
            assert torch.equal(part.inputs, expected.inputs)
            assert torch.equal(part.targets, expected.targets)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.sampled_from(["trivial", "rand", "none"]), st.integers(0, 1000))
def test_parts_equal_the_split_for_any_sizes(n: int, size: int, policy: str, seed: int):
    augment = ALL.model_copy(update={"policy": policy, "flip": "alternating"})
    source = make(augment, n, seed=seed, batch_size=n, shape=(7, 5, 3), larger=2)
    (whole,) = source.epoch(0, 0, 1)
    parts = [next(source.epoch(0, 0, 1, (rank, size))) for rank in range(size)]
    assert [len(part.inputs) for part in parts] == [len(part.inputs) for part in whole.split(size)]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_parts_of_images_that_several_threads_share_are_the_same_too():
    augment = ALL.model_copy(update={"policy": "rand"})
    source = make(augment, 21, batch_size=21, shape=(61, 67, 3), larger=9)
    (whole,) = source.epoch(0, 0, 1)
    for rank, expected in enumerate(whole.split(4)):
        (part,) = source.epoch(0, 0, 1, (rank, 4))
        assert torch.equal(part.inputs, expected.inputs)


def test_only_what_a_part_needs_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "free", lambda device: 1000)
    read = []
    original = arrays.read_into
    monkeypatch.setattr(arrays, "read_into", lambda out, *rest: (read.append(len(out)), original(out, *rest)))
    list(make(NO_AUGMENTATION, batch_size=50).epoch(0, 0, 1, (1, 5)))
    assert sum(read) == 10
    read.clear()
    list(make(ALL, batch_size=50).epoch(0, 0, 1, (1, 5)))  # each example has one partner
    assert 10 < sum(read) <= 20


def test_inputs_of_any_type_can_be_read_from_disk(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "free", lambda device: 10)
    features = np.linspace(0, 1, 24, dtype=np.float32).reshape(8, 3)
    source = make(NO_AUGMENTATION, n=8, shape=(3,))
    source.loader.stored = features
    source.augmenter.manifest = replace(source.manifest, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    shown = torch.cat([inputs for inputs, _ in epoch(source)])
    assert np.array_equal(shown.sort(0).values.numpy(), features)


def test_mixed_targets_are_class_probabilities():
    inputs, targets = epoch(make(NO_AUGMENTATION.model_copy(update={"mixup": 1.0})))[0]
    assert targets.shape == (len(inputs), 3)
    assert torch.allclose(targets.sum(1), torch.ones(len(inputs)))
    assert ((targets > 0).sum(1) == 2).any()


def test_alternating_flips_mirror_each_image_in_one_of_two_epochs():
    source = make(NO_AUGMENTATION.model_copy(update={"flip": "alternating"}), shape=(8, 8, 1))
    plain = torch.from_numpy(source.train.inputs.astype(np.float32))  # the mean is 0 and the deviation 1 / 255
    mirrored = []
    for number in range(3):
        shown = {}
        for indices, (inputs, _) in zip(source._drawn(number), source.epoch(number, 0, source.steps), strict=True):
            shown |= zip(indices.tolist(), inputs.movedim(1, 3), strict=True)
        mirrored.append([torch.allclose(shown[index], plain[index].flip(1)) for index in range(50)])
    assert mirrored[0] == [not one for one in mirrored[1]] == mirrored[2]
    assert 10 < sum(mirrored[0]) < 40


def test_auto_is_what_suits_the_dataset():
    auto = NO_AUGMENTATION.model_copy(update={"flip": "auto", "shift": "auto"})
    chosen = make(auto, suitable=Augmentation(flip=True, shift=3)).augmenter.settings
    assert (chosen.flip, chosen.shift) == ("alternating", 3)
    chosen = make(auto).augmenter.settings
    assert (chosen.flip, chosen.shift) == ("none", 0)


@pytest.mark.parametrize("batch_size", [50, 51, 1000])
def test_batch_size_is_at_most_the_size_of_the_training_set(batch_size: int):
    source = make(NO_AUGMENTATION, batch_size=batch_size)
    assert (source.batch_size, source.steps) == (50, 1)
    assert [len(inputs) for inputs, _ in epoch(source)] == [50]


def test_sample_is_not_augmented():
    source = make(ALL)
    assert source.sample(1000, 10**6)[:, 0, 0, 0].round().long().sort().values.tolist() == list(range(50))
    assert len(source.sample(7, 10**6)) == 7


def test_sample_of_large_images_holds_windows_of_them():
    source = make(NO_AUGMENTATION, shape=(30, 40, 3))
    whole = source.sample(50, 50 * 40 * 40)
    assert whole.shape == (50, 3, 30, 40)
    windows = source.sample(50, 50 * 11 * 11 + 49)
    assert windows.shape == (50, 3, 11, 11)
    assert torch.equal(windows, source.sample(50, 50 * 11 * 11))
    places = set()
    for window, image in zip(windows, whole, strict=True):
        found = (image.unfold(1, 11, 1).unfold(2, 11, 1) == window[:, None, None]).all(4).all(3).all(0).nonzero()
        places.update(map(tuple, found.tolist()))
    assert {row for row, _ in places} > {0, 19} and {column for _, column in places} > {0, 29}
    assert source.sample(50, 50 * 35 * 35).shape == (50, 3, 30, 35)


@pytest.mark.parametrize("shape", [(8, 9, 3), (2,)])
def test_blocks_are_the_inputs_as_they_are(shape: tuple[int, ...]):
    source, indices = make(NO_AUGMENTATION, shape=shape), np.array([3, 1, 4, 15, 9, 2, 6])
    blocks = list(source.blocks(indices, 3))
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert np.array_equal(np.concatenate(blocks), source.train.inputs[indices])


def test_random_crops_use_the_uncropped_images_and_the_network_sees_its_size():
    plain = make(NO_AUGMENTATION, larger=4)
    assert plain.loader.stored.shape == (50, 8, 9, 3)
    assert torch.equal(epoch(plain)[0].inputs, epoch(make_like(plain))[0].inputs)
    cropped = make(NO_AUGMENTATION.model_copy(update={"min_crop_area": 0.9}), larger=4)
    assert cropped.loader.stored.shape == (50, 12, 13, 3)
    assert epoch(cropped)[0].inputs.shape == (13, 3, 8, 9)


def make_like(source: Batches) -> Batches:
    """Batches of the same inputs without anything around them."""
    train = replace(source.train, uncropped=np.ascontiguousarray(source.train.inputs), size=None)
    return Batches(train, source.manifest, NO_AUGMENTATION, source.batch_size, source.seed, CPU)
