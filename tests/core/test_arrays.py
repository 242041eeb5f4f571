import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.core import arrays
from darkroom.core.arrays import Augmentation, Split
from darkroom.core.errors import DarkroomError
from darkroom.preprocess import packing
from darkroom.preprocess.packing import Pack
from tests import packs

FIELDS = {
    "dataset": "toy",
    "title": "Toy",
    "licence": "CC0",
    "classes": ("a", "b"),
    "augmentation": Augmentation(True, 2),
}


def make_splits(shift: int = 0) -> dict[str, Split]:
    rng = np.random.default_rng(shift)
    return {
        name: Split(
            rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8),
            np.arange(count, dtype=np.int64) % 2,
            np.array([f"{name}/{place:05}" for place in range(count)]),
        )
        for name, count in (("train", 6), ("val", 2), ("test", 3))
    }


def test_what_was_written_is_read_back(tmp_path):
    splits = make_splits()
    written = packs.write(tmp_path / "arrays", splits, FIELDS)
    for name, split in splits.items():
        read = arrays.read_split(tmp_path / "arrays", name)
        assert len(read) == len(split)
        for field in ("inputs", "labels", "ids"):
            assert np.array_equal(getattr(read, field), getattr(split, field))
            assert getattr(read, field).dtype.kind == getattr(split, field).dtype.kind
    assert arrays.read_manifest(tmp_path / "arrays") == written
    assert written.shape == (4, 5, 3)
    assert written.counts == {"train": 6, "val": 2, "test": 3}


def test_arrays_are_mapped_read_only(tmp_path):
    packs.write(tmp_path / "arrays", make_splits(), FIELDS)
    read = arrays.read_split(tmp_path / "arrays", "train")
    assert isinstance(read.inputs, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        read.inputs[0] = 0


def test_same_arrays_give_the_same_bytes_and_others_another_hash(tmp_path):
    hashes = [
        packs.write(tmp_path / name, make_splits(shift), FIELDS).sha256
        for name, shift in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()} == {
        file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()
    }


@pytest.mark.parametrize("field", ["inputs", "labels", "ids"])
def test_the_hash_covers_every_array(tmp_path, field):
    before = packs.write(tmp_path / "arrays", make_splits(), FIELDS).sha256
    splits = make_splits()
    array = getattr(splits["val"], field)
    array[0] = "other" if field == "ids" else array[0] ^ 1
    assert packs.write(tmp_path / "arrays", splits, FIELDS).sha256 != before


def test_a_failing_write_leaves_what_was_there(tmp_path):
    before = packs.write(tmp_path / "arrays", make_splits(), FIELDS)
    with pytest.raises(TypeError):
        packs.write(tmp_path / "arrays", make_splits(1), {**FIELDS, "surplus": 1})
    assert arrays.read_manifest(tmp_path / "arrays") == before
    assert [path.name for path in tmp_path.iterdir()] == ["arrays"]


def test_statistics_are_of_the_training_split_by_channel(tmp_path):
    splits = make_splits()
    splits["train"].inputs[:] = 0
    splits["train"].inputs[:3, ..., 1] = 255
    splits["train"].inputs[..., 2] = 51
    written = packs.write(tmp_path / "arrays", splits, FIELDS)
    assert written.mean == pytest.approx((0, 0.5, 0.2))
    assert written.std == pytest.approx((0, 0.5, 0), abs=1e-7)


@settings(max_examples=30)
@given(any_array(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))))
def test_channel_statistics_agree_with_numpy(images):
    mean, std = packing.channel_statistics(packing.count_levels(images))
    scaled = images.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 1, 2)))
    assert std == pytest.approx(scaled.std(axis=(0, 1, 2)), abs=1e-7)


def test_the_size_of_the_blocks_changes_nothing(tmp_path, monkeypatch):
    whole = packs.write(tmp_path / "a", make_splits(), FIELDS)
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 2 * 4 * 5 * 3)
    assert packs.write(tmp_path / "b", make_splits(), FIELDS) == whole


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_pack_gives_back_what_it_kept_and_leaves_no_file(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("pack")
    pictures = np.random.default_rng(0).integers(0, 256, (sum(sizes), 2, 3, 1), dtype=np.uint8)
    with Pack(folder, (2, 3, 1)) as pack:
        passed = list(pack.keep(np.split(pictures, np.cumsum(sizes)[:-1])))
        assert [len(block) for block in passed] == sizes
        assert np.array_equal(np.concatenate(list(pack.blocks())), pictures)
    assert list(folder.iterdir()) == []


def test_pictures_are_read_whether_mapped_or_not(tmp_path):
    packs.write(tmp_path / "arrays", make_splits(), FIELDS)
    mapped, held = arrays.read_split(tmp_path / "arrays", "train").inputs, make_splits()["train"].inputs
    places = np.array([4, 0, 4, 5])
    for images in (mapped, held, mapped[:], held[:]):
        out = np.zeros((4, 4, 5, 3), np.uint8)
        arrays.read_into(out, images, places)
        assert np.array_equal(out, held[places])
        assert np.array_equal(arrays.read_whole(images), held)
        assert arrays.read_whole(images).flags.writeable
    out = np.zeros((1, 4, 5, 3), np.uint8)
    arrays.read_into(out, mapped[2:], np.array([1]))
    assert np.array_equal(out[0], held[3])


def test_a_file_that_is_cut_short_while_it_is_read_is_said(tmp_path):
    packs.write(tmp_path / "arrays", make_splits(), FIELDS)
    images = arrays.read_split(tmp_path / "arrays", "train").inputs
    os.truncate(tmp_path / "arrays/train.inputs.npy", 128 + 3 * 60 + 1)
    out = np.zeros((1, 4, 5, 3), np.uint8)
    arrays.read_into(out, images, np.array([2]))
    with pytest.raises(DarkroomError, match=r"train\.inputs\.npy was cut short.*run `dvc repro --force preprocess`"):
        arrays.read_into(out, images, np.array([3]))


def test_a_missing_manifest_says_how_to_make_it(tmp_path):
    with pytest.raises(DarkroomError, match=r"manifest\.json is missing: run `dvc repro preprocess`"):
        arrays.read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"classes": 1}',
        json.dumps({"classes": [], "shape": [], "mean": [], "std": [], "augmentation": {}}),
    ],
)
def test_what_is_no_manifest_is_said(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DarkroomError, match=r"manifest\.json is no manifest .*: run `dvc repro --force preprocess`"):
        arrays.read_manifest(tmp_path)


@pytest.mark.parametrize("length", [0, 60, -1])
def test_a_truncated_array_is_said(tmp_path, length):
    packs.write(tmp_path, make_splits(), FIELDS)
    file = tmp_path / "train.inputs.npy"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DarkroomError, match=r"The train split in .* cannot be read"):
        arrays.read_split(tmp_path, "train")


def test_a_missing_array_is_said(tmp_path):
    with pytest.raises(DarkroomError, match=r"The test split in .* cannot be read"):
        arrays.read_split(tmp_path, "test")


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": np.zeros(5, np.int64)},
        {"inputs": np.zeros((6, 4, 5, 3), np.float32)},
        {"inputs": np.zeros((6, 4, 5), np.uint8)},
    ],
)
def test_arrays_that_do_not_fit_together_are_said(tmp_path, changed):
    packs.write(tmp_path, make_splits(), FIELDS)
    for field, array in changed.items():
        np.save(tmp_path / f"train.{field}.npy", array)
    with pytest.raises(DarkroomError, match=r"The train split in .* does not fit together"):
        arrays.read_split(tmp_path, "train")
