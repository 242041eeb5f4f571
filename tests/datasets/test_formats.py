from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darkroom.datasets import formats
from darkroom.datasets.descriptions import Published
from tests import idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = idx.contents()
HUGE = b"\0\0\x08\x03" + b"\xff" * 12


def decode(folder: Path, contents: dict[str, bytes], /, **changes: Any) -> tuple:
    """Decode the files of `contents` by name, which are written to `folder` first."""
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    description = idx.description(GOOD, name="tiny", **changes)
    return formats.decode(Published.model_validate(description, strict=False), folder)


def test_images_and_labels_keep_their_order(tmp_path: Path):
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    contents = (images, np.array([2, 0, 1, 2], np.uint8), images[:1] + 100, np.array([1], np.uint8))
    files = {name: idx.encode(array) for name, array in zip(GOOD, contents, strict=True)}
    (train, train_labels), (test, test_labels) = decode(tmp_path, files)
    assert np.array_equal(train, images[..., None]) and np.array_equal(test, images[:1, ..., None] + 100)
    assert train.dtype == np.uint8 and train.flags.c_contiguous
    assert train_labels.tolist() == [2, 0, 1, 2] and test_labels.tolist() == [1]
    assert train_labels.dtype == np.int64


def test_transposed_images_are_restored(tmp_path: Path):
    (stored, _), _ = decode(tmp_path, GOOD)
    (restored, _), _ = decode(tmp_path, GOOD, transposed=True)
    assert (restored == stored.swapaxes(1, 2)).all() and not (restored == stored).all()


def test_the_class_is_the_first_of_several_label_columns(tmp_path: Path):
    columns = np.stack([np.arange(12) % 3, np.full(12, -70_000)], axis=1).astype(np.int32)
    (_, labels), _ = decode(tmp_path, {**GOOD, LABELS: idx.encode(columns)})
    assert labels.tolist() == [0, 1, 2] * 4


def test_cifar_planes_become_channels(tmp_path: Path):
    records = np.zeros((2, 3073), np.uint8)
    records[:, 0] = [1, 0]
    records[0, 1 + 1024 + 2 * 32 + 5] = 9  # the first image's green plane, row 2, column 5
    files = {"first": records.tobytes(), "second": records[1:].tobytes(), "third": records[:1].tobytes()}
    roles = [
        {"role": role, "name": name, "bytes": len(files[name]), "sha256": "0" * 64}
        for role, name in zip(("train", "train", "test"), files, strict=True)
    ]
    cifar = {"format": "cifar_binary", "files": roles}
    (train, train_labels), (test, test_labels) = decode(tmp_path, files, **cifar)
    assert train.shape == (3, 32, 32, 3) and test.shape == (1, 32, 32, 3)
    assert train_labels.tolist() == [1, 0, 0] and test_labels.tolist() == [1]
    assert np.argwhere(train).tolist() == [[0, 2, 5, 1]]
    with pytest.raises(ValueError, match=r"second .*3,072 bytes"):
        decode(tmp_path, {"second": files["second"][:-1]}, **cifar)
    with pytest.raises(ValueError, match="second has the label 7 at index 0, but there are 3 classes"):
        decode(tmp_path, {"second": b"\x07" + files["second"][1:]}, **cifar)


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int32]), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
    )
)
def test_every_idx_array_is_read_back(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(idx.encode(array))
    found = formats.read_idx(path)
    assert found.dtype == array.dtype and found.dtype.isnative and np.array_equal(found, array)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\0\0\x08\x03" + tail))
def test_arbitrary_bytes_are_read_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(data)
    try:
        array = formats.read_idx(path)
    except ValueError as error:
        assert str(error).startswith("file ")
    else:
        assert idx.encode(array) == data


@pytest.mark.parametrize(
    ("name", "data", "facts"),
    [
        (IMAGES, b"", ["not an IDX file", "empty"]),
        (IMAGES, b"PK\x03\x04 and so on", ["not an IDX file", "50 4b 03 04"]),
        (IMAGES, b"\0\0\x0e\x03" + GOOD[IMAGES][4:], ["not an IDX file", "00 00 0e 03"]),
        (IMAGES, GOOD[IMAGES][:9], ["truncated", "header"]),
        (IMAGES, GOOD[IMAGES][:-1], ["truncated", "783 bytes", "784"]),
        (IMAGES, GOOD[IMAGES] + b"x", ["too large", "785 bytes", "784"]),
        (IMAGES, HUGE, ["truncated", "16 bytes", "79,228,162,458,924,105,385,300,197,391"]),
        (IMAGES, GOOD[LABELS], ["uint8", "(12,)", "images"]),
        (IMAGES, idx.encode(np.zeros((12, 8, 8), np.int32)), ["int32", "images"]),
        (IMAGES, idx.encode(np.zeros((0, 8, 8), np.uint8)), ["(0, 8, 8)", "images"]),
        (LABELS, GOOD[IMAGES], ["(12, 8, 8)", "labels"]),
        (LABELS, idx.encode(np.zeros(11, np.uint8)), [IMAGES, "12 images", "11 labels"]),
        (LABELS, idx.encode(np.array([0] * 11 + [3], np.uint8)), ["label 3 at index 11", "3 classes (0 to 2)"]),
        (LABELS, idx.encode(np.array([-1] + [0] * 11, np.int32)), ["label -1 at index 0"]),
    ],
)
def test_an_invalid_file_is_named(tmp_path: Path, name: str, data: bytes, facts: list[str]):
    with pytest.raises(ValueError, match=name) as caught:
        decode(tmp_path, {**GOOD, name: data})
    assert [fact for fact in facts if fact not in str(caught.value)] == []


def test_images_of_one_shape_in_training_and_another_in_test_are_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match=r"\(8, 8, 1\) and \(9, 8, 1\)"):
        decode(tmp_path, {**GOOD, "t10k-images-idx3-ubyte": idx.encode(np.zeros((6, 9, 8), np.uint8))})
