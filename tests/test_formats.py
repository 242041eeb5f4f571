import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darkroom import formats
from darkroom.errors import DarkroomError
from tests import idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = idx.contents()


def _raw(folder: Path, files: dict[str, bytes], **changes: object) -> Path:
    values = {**idx.description(GOOD), "name": "tiny", **changes}
    (folder / formats.DESCRIPTION).write_text(json.dumps(values))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_pictures_and_labels_keep_their_order(tmp_path: Path):
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    arrays_in_order = (images, np.array([2, 0, 1, 2], np.uint8), images[:1] + 100, np.array([1], np.uint8))
    raw = formats.read(_raw(tmp_path, {name: idx.encode(array) for name, array in zip(GOOD, arrays_in_order, strict=True)}))
    assert (raw.train.images[..., 0] == images).all() and raw.train.images.shape == (4, 2, 3, 1) and raw.train.images.dtype == np.uint8
    assert raw.train.labels.tolist() == [2, 0, 1, 2] and raw.train.labels.dtype == np.int64
    assert (raw.test.images[..., 0] == images[:1] + 100).all() and raw.test.labels.tolist() == [1]
    assert raw.description.title == "Tiny"


def test_transposed_pictures_are_turned_upright(tmp_path: Path):
    upright = formats.read(_raw(tmp_path, GOOD)).train.images
    turned = formats.read(_raw(tmp_path, GOOD, transposed=True)).train.images
    assert (turned == upright.swapaxes(1, 2)).all() and not (turned == upright).all()
    assert turned.flags.c_contiguous


def test_the_class_is_the_first_of_several_label_columns(tmp_path: Path):
    columns = np.stack([np.arange(12) % 3, np.full(12, -70_000)], axis=1).astype(np.int32)
    raw = formats.read(_raw(tmp_path, {**GOOD, LABELS: idx.encode(columns)}))
    assert raw.train.labels.tolist() == [0, 1, 2] * 4


def test_cifar_planes_become_channels(tmp_path: Path):
    records = np.zeros((2, 3073), np.uint8)
    records[:, 0] = [1, 0]
    records[0, 1 + 1024 + 2 * 32 + 5] = 9  # the first picture's green plane, row 2, column 5
    files = {"first": records.tobytes(), "second": records[1:].tobytes(), "third": records[:1].tobytes()}
    roles = [{"role": role, "name": name, "bytes": len(files[name]), "sha256": "0" * 64} for role, name in zip(("train", "train", "test"), files, strict=True)]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    values = {**idx.description(GOOD), "name": "tiny", "format": "cifar_binary", "files": roles}
    (tmp_path / formats.DESCRIPTION).write_text(json.dumps(values))
    raw = formats.read(tmp_path)
    assert raw.train.images.shape == (3, 32, 32, 3) and raw.train.labels.tolist() == [1, 0, 0]
    assert np.argwhere(raw.train.images).tolist() == [[0, 2, 5, 1]]
    (tmp_path / "second").write_bytes(files["second"][:-1])
    with pytest.raises(DarkroomError, match=r"second is no CIFAR file or truncated: 3,072 bytes"):
        formats.read(tmp_path)
    (tmp_path / "second").write_bytes(b"\x07" + files["second"][1:])
    with pytest.raises(DarkroomError, match="second has the label 7 at place 0, but there are 3 classes"):
        formats.read(tmp_path)


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(st.sampled_from([np.uint8, np.int32]), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_every_idx_array_comes_back(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(idx.encode(array))
    found = formats.read_idx(path)
    assert found.dtype == array.dtype and found.dtype.isnative and np.array_equal(found, array)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\0\0\x08\x03" + tail))
def test_arbitrary_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(data)
    try:
        array = formats.read_idx(path)
    except ValueError as error:
        assert str(error).startswith("file ")
    else:
        assert idx.encode(array) == data


HUGE = b"\0\0\x08\x03" + b"\xff" * 12


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        (IMAGES, b"", "train-images-idx3-ubyte is no IDX file of bytes or of 32-bit numbers (it starts with nothing)"),
        (IMAGES, b"PK\x03\x04 and so on", "is no IDX file of bytes or of 32-bit numbers (it starts with 50 4b 03 04)"),
        (IMAGES, b"\0\0\x0e\x03" + GOOD[IMAGES][4:], "it starts with 00 00 0e 03"),
        (IMAGES, GOOD[IMAGES][:9], "train-images-idx3-ubyte is truncated: it ends within its header"),
        (IMAGES, GOOD[IMAGES][:-1], "is truncated: 783 bytes, where its header promises 784"),
        (IMAGES, GOOD[IMAGES] + b"x", "is too long: 785 bytes, where its header promises 784"),
        (IMAGES, HUGE, "is truncated: 16 bytes, where its header promises 79,228,162,458,924,105,385,300,197,391"),
        (IMAGES, GOOD[LABELS], "train-images-idx3-ubyte holds no images: uint8 of shape (12,)"),
        (IMAGES, idx.encode(np.zeros((12, 8, 8), np.int32)), "holds no images: int32"),
        (IMAGES, idx.encode(np.zeros((0, 8, 8), np.uint8)), "holds no images"),
        (LABELS, GOOD[IMAGES], "train-labels-idx1-ubyte holds no labels: its shape is (12, 8, 8)"),
        (LABELS, idx.encode(np.zeros(11, np.uint8)), "train-images-idx3-ubyte holds 12 images, but train-labels-idx1-ubyte 11 labels"),
        (LABELS, idx.encode(np.array([0] * 11 + [3], np.uint8)), "train-labels-idx1-ubyte has the label 3 at place 11, but there are 3 classes (0 to 2)"),
        (LABELS, idx.encode(np.array([-1] + [0] * 11, np.int32)), "has the label -1 at place 0"),
        (
            "t10k-images-idx3-ubyte",
            idx.encode(np.zeros((6, 9, 8), np.uint8)),
            "training images are (8, 8, 1) (height, width, channels), the test images (9, 8, 1)",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, data: bytes, sentence: str):
    with pytest.raises(DarkroomError) as caught:
        formats.read(_raw(tmp_path, {**GOOD, name: data}))
    assert sentence in str(caught.value)
    assert str(tmp_path) in str(caught.value) and "dvc repro --force fetch" in str(caught.value)


@pytest.mark.parametrize("name", [IMAGES, LABELS, formats.DESCRIPTION])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (_raw(tmp_path, GOOD) / name).unlink()
    with pytest.raises(DarkroomError, match=f"{name} is missing: run `dvc repro --force fetch`"):
        formats.read(tmp_path)
