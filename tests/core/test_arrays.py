import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.functional import center_crop

from darkroom.core import arrays
from darkroom.core.cropping import centre
from darkroom.core.errors import DarkroomError
from tests import packs
from tests.packs import DESCRIBED, make_splits


def test_arrays_are_mapped_read_only(tmp_path):
    packs.write(tmp_path / "arrays", make_splits(), DESCRIBED)
    read = arrays.read_split(tmp_path / "arrays", "train")
    assert isinstance(read.inputs, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        read.inputs[0] = 0


@pytest.mark.parametrize("shape", [(4, 5, 3), (7,)])
def test_inputs_are_read_whether_mapped_or_in_memory(tmp_path, shape):
    splits = make_splits(shape=shape)
    packs.write(tmp_path / "arrays", splits, DESCRIBED)
    mapped, held = arrays.read_split(tmp_path / "arrays", "train").inputs, splits["train"].inputs
    indices = np.array([4, 0, 4, 5])
    for inputs in (mapped, held, mapped[:], held[:]):
        out = np.zeros((4, *shape), np.uint8)
        arrays.read_into(out, inputs, indices)
        assert np.array_equal(out, held[indices])
        assert np.array_equal(arrays.read_whole(inputs), held)
        assert arrays.read_whole(inputs).flags.writeable
    out = np.zeros((1, *shape), np.uint8)
    arrays.read_into(out, mapped[2:], np.array([1]))
    assert np.array_equal(out[0], held[3])


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Images (5, 7, 6, 3) uint8, mapped from a file."""
    path = tmp_path_factory.mktemp("arrays") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (5, 7, 6, 3), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


ranges = st.slices(7).filter(lambda found: (found.step or 1) != 0)


@given(st.tuples(ranges, ranges, ranges), st.lists(st.integers(0, 4), max_size=4), st.booleans())
def test_any_view_of_mapped_inputs_is_read_as_it_is(mapped, chosen, indices, plain):
    view = np.asarray(mapped)[chosen] if plain else mapped[chosen]
    indices = np.array([index for index in indices if index < len(view)], np.int64)
    out = np.zeros((len(indices), *view.shape[1:]), np.uint8)
    if view.size:
        arrays.read_into(out, view, indices)
        assert np.array_equal(out, view[indices])
    assert np.array_equal(arrays.read_whole(view), view)


@pytest.mark.parametrize(("size", "top", "left"), [((7, 6), 0, 0), ((3, 4), 2, 1), ((4, 3), 2, 2), ((6, 1), 0, 2)])
def test_the_centre_is_where_torchvision_puts_it(mapped, size, top, left):
    found = centre(mapped, size)
    assert np.shares_memory(found, mapped)
    assert np.array_equal(found, mapped[:, top : top + size[0], left : left + size[1]])
    by_torchvision = center_crop(torch.from_numpy(np.moveaxis(np.array(mapped), 3, 1)), list(size))
    assert np.array_equal(np.moveaxis(by_torchvision.numpy(), 1, 3), found)


def test_a_split_without_a_size_is_what_the_network_sees():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    split = arrays.Split(images, np.zeros(2, np.int64), np.array(["a", "b"]))
    assert split.inputs is images and split.uncropped is images


def test_training_images_may_be_larger_than_the_inputs(tmp_path):
    packs.write(tmp_path, make_splits(), DESCRIBED)
    larger = np.random.default_rng(1).integers(0, 256, (6, 6, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "train.inputs.npy", larger)
    train = arrays.read_split(tmp_path, "train")
    assert isinstance(train.inputs, np.memmap) and train.size == (4, 5)
    assert np.array_equal(train.inputs, larger[:, 1:5, 2:7])
    assert np.array_equal(train.uncropped, larger)
    assert np.array_equal(arrays.read_whole(train.inputs), train.inputs)


def test_unlabelled_examples_have_no_label(tmp_path):
    packs.write(tmp_path, make_splits(), DESCRIBED)
    assert arrays.read_unlabelled(tmp_path) is None
    np.save(tmp_path / "unlabelled.inputs.npy", np.ones((2, 4, 5, 3), np.uint8))
    (tmp_path / "unlabelled.ids.json").write_text('["x", "y"]')
    found = arrays.read_unlabelled(tmp_path)
    assert (found.ids.tolist(), found.labels.tolist(), found.labels.dtype) == (["x", "y"], [-1, -1], np.int64)
    assert found.inputs.shape == (2, 4, 5, 3)
    (tmp_path / "unlabelled.ids.json").write_text('["x"]')
    with pytest.raises(DarkroomError, match="do not match"):
        arrays.read_unlabelled(tmp_path)


def test_a_file_that_is_truncated_while_it_is_read_is_an_error(tmp_path):
    packs.write(tmp_path / "arrays", make_splits(), DESCRIBED)
    inputs = arrays.read_split(tmp_path / "arrays", "train").inputs
    os.truncate(tmp_path / "arrays/train.inputs.npy", 128 + 3 * 60 + 1)
    for view in (inputs, centre(inputs, (4, 3))):
        out = np.zeros((1, *view.shape[1:]), np.uint8)
        arrays.read_into(out, view, np.array([2]))
        with pytest.raises(DarkroomError, match=r"train\.inputs\.npy .*dvc repro --force preprocess"):
            arrays.read_into(out, view, np.array([3]))


def test_a_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(DarkroomError, match=r"manifest\.json is missing.*`dvc repro preprocess`"):
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
def test_an_invalid_manifest_is_an_error(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DarkroomError, match=r"manifest\.json .*dvc repro --force preprocess"):
        arrays.read_manifest(tmp_path)


@pytest.mark.parametrize("field", ["test_sha256", "interpolation", "crop_fraction"])
def test_a_manifest_of_an_earlier_version_is_an_error(tmp_path, field):
    packs.write(tmp_path, make_splits(), DESCRIBED)
    path = tmp_path / "manifest.json"
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    with pytest.raises(DarkroomError, match=rf"manifest\.json .*{field}.*dvc repro --force preprocess"):
        arrays.read_manifest(tmp_path)


@pytest.mark.parametrize("length", [0, 60, -1])
def test_a_truncated_array_is_an_error(tmp_path, length):
    packs.write(tmp_path, make_splits(), DESCRIBED)
    file = tmp_path / "train.inputs.npy"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DarkroomError, match=r"split train .*cannot be read"):
        arrays.read_split(tmp_path, "train")


def test_a_missing_array_is_an_error(tmp_path):
    with pytest.raises(DarkroomError, match=r"split test .*cannot be read"):
        arrays.read_split(tmp_path, "test")


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": np.zeros(5, np.int64)},
        {"ids": ["a"] * 7},
        {"inputs": np.zeros((6, 4, 5, 3), np.float32)},
        {"inputs": np.zeros(6, np.uint8)},
        {"inputs": np.zeros((6, 4, 5, 1), np.uint8)},
        {"inputs": np.zeros((6, 3, 5, 3), np.uint8)},
        {"inputs": np.zeros((6, 4, 15), np.uint8)},
    ],
)
def test_arrays_that_do_not_match_are_an_error(tmp_path, changed):
    packs.write(tmp_path, make_splits(), DESCRIBED)
    for field, array in changed.items():
        if field == "ids":
            (tmp_path / "train.ids.json").write_text(json.dumps(array))
        else:
            np.save(tmp_path / f"train.{field}.npy", array)
    with pytest.raises(DarkroomError, match=r"split train .*do not match"):
        arrays.read_split(tmp_path, "train")
