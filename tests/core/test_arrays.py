import json
import os

import numpy as np
import pytest

from darkroom.core import arrays
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


def test_a_file_that_is_truncated_while_it_is_read_is_an_error(tmp_path):
    packs.write(tmp_path / "arrays", make_splits(), DESCRIBED)
    inputs = arrays.read_split(tmp_path / "arrays", "train").inputs
    os.truncate(tmp_path / "arrays/train.inputs.npy", 128 + 3 * 60 + 1)
    out = np.zeros((1, 4, 5, 3), np.uint8)
    arrays.read_into(out, inputs, np.array([2]))
    with pytest.raises(DarkroomError, match=r"train\.inputs\.npy .*dvc repro --force preprocess"):
        arrays.read_into(out, inputs, np.array([3]))


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
