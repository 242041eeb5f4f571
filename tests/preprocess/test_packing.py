from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.preprocess import packing
from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples
from tests import packs
from tests.packs import DESCRIBED, PREPROCESSING, make_splits


@pytest.mark.parametrize("shape", [(4, 5, 3), (7,), (2, 3)])
def test_splits_are_read_back_as_written(tmp_path, shape):
    splits = make_splits(shape=shape)
    written = packs.write(tmp_path / "arrays", splits, DESCRIBED)
    for name, split in splits.items():
        read = arrays.read_split(tmp_path / "arrays", name)
        assert len(read) == len(split)
        for field in ("inputs", "labels", "ids"):
            assert np.array_equal(getattr(read, field), getattr(split, field))
        assert (read.inputs.dtype, read.labels.dtype, read.ids.dtype) == (np.uint8, np.int64, arrays.TEXT)
    assert arrays.read_manifest(tmp_path / "arrays") == written
    assert written.shape == shape
    assert written.counts == {"train": 6, "val": 2, "test": 3}


def test_only_training_images_are_larger_than_the_inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_BLOCK_BYTES", 100)
    splits = make_splits(shape=(6, 7, 3))
    changes = {"resize": "crop", "interpolation": "bicubic", "crop_fraction": 0.7}
    written = packs.write(tmp_path / "a", splits, DESCRIBED, (4, 5), PREPROCESSING.model_copy(update=changes))
    assert written == arrays.read_manifest(tmp_path / "a")
    assert {name: getattr(written, name) for name in changes} == changes
    assert written.shape == (4, 5, 3)
    for name, split in splits.items():
        read = arrays.read_split(tmp_path / "a", name)
        assert np.array_equal(read.inputs, split.inputs[:, 1:5, 1:6])
        assert np.array_equal(read.uncropped, split.inputs if name == "train" else read.inputs)
    inputs = splits["train"].inputs[:, 1:5, 1:6] / 255
    assert written.mean == pytest.approx(inputs.mean(axis=(0, 1, 2)))
    assert written.std == pytest.approx(inputs.std(axis=(0, 1, 2)))
    whole = packs.write(tmp_path / "b", {name: centred(split) for name, split in splits.items()}, DESCRIBED)
    assert written.test_sha256 == whole.test_sha256 and written.sha256 != whole.sha256


def centred(split):
    return Split(np.ascontiguousarray(split.inputs[:, 1:5, 1:6]), split.labels, split.ids)


def test_groups_and_other_columns_are_read_back(tmp_path):
    ids, splits = np.array(["a", "b", "c", "d"]), np.array(["train", "train", "val", "test"])
    columns = {"site": np.array(['no"rth', "", "south,\r1", "1.0"]), "x y": np.array(["1", " ", "NA", ""])}
    hashes = set()
    for groups, more in (("", {}), ("g", {}), ("", columns), ("g", columns)):
        grouped = np.array(["", groups, groups, groups])
        samples = Samples(ids, np.array([0, 1, 0, 1]), splits, grouped, more)
        dataset = SimpleNamespace(
            name="toy", **{name: DESCRIBED[name] for name in ("title", "licence", "augmentation")}
        )
        with packing.Pack(tmp_path, (2, 2, 1)) as pack:
            list(pack.keep([np.zeros((4, 2, 2, 1), np.uint8)]))
            written = packing.write(tmp_path / "arrays", pack, samples, dataset, ("p", "q"), (2, 2, 1), PREPROCESSING)
            hashes.add(written.sha256)
        expected = {"group": grouped, **more} if groups else dict(more)
        for split in ("train", "val", "test"):
            read = arrays.read_columns(tmp_path / "arrays", split)
            assert list(read) == list(expected)
            for name, column in expected.items():
                assert read[name].tolist() == [" ".join(value.split()) for value in column[splits == split]]
    assert len(hashes) == 4


def test_equal_arrays_give_equal_files_and_different_arrays_a_different_hash(tmp_path):
    hashes = [
        packs.write(tmp_path / name, make_splits(seed), DESCRIBED).sha256
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()} == {
        file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()
    }


@pytest.mark.parametrize("field", ["inputs", "labels", "ids"])
def test_the_hash_covers_every_array(tmp_path, field):
    before = packs.write(tmp_path / "arrays", make_splits(), DESCRIBED).sha256
    splits = make_splits()
    array = getattr(splits["val"], field)
    array[0] = "other" if field == "ids" else array[0] ^ 1
    assert packs.write(tmp_path / "arrays", splits, DESCRIBED).sha256 != before


@pytest.mark.parametrize("field", ["inputs", "labels", "ids"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_test_split_has_hashes_of_its_own(tmp_path, split, field):
    before = packs.write(tmp_path / "arrays", make_splits(), DESCRIBED)
    splits = make_splits()
    array = getattr(splits[split], field)
    array[0] = "other" if field == "ids" else array[0] ^ 1
    after = packs.write(tmp_path / "arrays", splits, DESCRIBED)
    assert (before.test_sha256 == after.test_sha256) == (split == "train")
    assert (before.test_examples_sha256 == after.test_examples_sha256) == (split == "train" or field == "inputs")


def test_a_failed_write_keeps_the_earlier_arrays(tmp_path):
    before = packs.write(tmp_path / "arrays", make_splits(), DESCRIBED)
    with pytest.raises(ValueError, match="JSON"):
        packs.write(tmp_path / "arrays", make_splits(1), {**DESCRIBED, "title": float("nan")})
    assert arrays.read_manifest(tmp_path / "arrays") == before
    assert [path.name for path in tmp_path.iterdir()] == ["arrays"]


def test_statistics_are_those_of_the_training_split_by_channel(tmp_path):
    splits = make_splits()
    splits["train"].inputs[:] = 0
    splits["train"].inputs[:3, ..., 1] = 255
    splits["train"].inputs[..., 2] = 51
    written = packs.write(tmp_path / "arrays", splits, DESCRIBED)
    assert written.mean == pytest.approx((0, 0.5, 0.2))
    assert written.std == pytest.approx((0, 0.5, 0), abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(any_array(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))))
def test_channel_statistics_agree_with_numpy(images):
    mean, std = packing.channel_statistics(packing.count_levels(images))
    scaled = images.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 1, 2)))
    assert std == pytest.approx(scaled.std(axis=(0, 1, 2)), abs=1e-7)


def test_the_block_size_changes_nothing(tmp_path, monkeypatch):
    whole = packs.write(tmp_path / "a", make_splits(), DESCRIBED)
    monkeypatch.setattr(packing, "_BLOCK_BYTES", 2 * 4 * 5 * 3)
    assert packs.write(tmp_path / "b", make_splits(), DESCRIBED) == whole


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_pack_returns_the_blocks_that_it_kept_and_leaves_no_file(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("pack")
    images = np.random.default_rng(0).integers(0, 256, (sum(sizes), 2, 3, 1), dtype=np.uint8)
    with Pack(folder, (2, 3, 1)) as pack:
        passed = list(pack.keep(np.split(images, np.cumsum(sizes)[:-1])))
        assert [len(block) for block in passed] == sizes
        assert np.array_equal(np.concatenate(list(pack.blocks())), images)
        assert np.array_equal(pack.take(np.array([len(images) - 1, 0])), images[[-1, 0]])
    assert list(folder.iterdir()) == []
