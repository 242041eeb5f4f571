import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, formats, index
from darkroom.inputs import image
from darkroom.preprocess import raw_data
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from tests import idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = idx.contents()


SETTINGS = PreprocessConfig(
    **{
        "image_size": "auto",
        "color": "auto",
        "resize": "stretch",
        "test_fraction": 0.2,
        "val_fraction": 0.1,
        "denoise": "none",
        "relabel": None,
    },
    clean=CleanConfig(
        constant=True, leak=True, near_leak=0.0, conflict=True, duplicate=True, max_aspect=0.0, min_class_size=0
    ),
    **{"max_pixels": 10_000, "max_bad_fraction": 0.5},
)


def _read(folder: Path, **changes: object) -> tuple[raw_data.Raw, np.ndarray]:
    """What is read from `folder`, and all its pictures."""
    raw = raw_data.read(folder, SETTINGS.model_copy(update=changes))
    blocks = list(raw.blocks({}))
    assert all(block.dtype == np.uint8 and block.shape[1:] == raw.shape for block in blocks)
    return raw, np.concatenate(blocks)


def _raw(folder: Path, files: dict[str, bytes], **changes: object) -> Path:
    values = {**idx.description(GOOD), "name": "tiny", **changes}
    (folder / formats.DESCRIPTION).write_text(json.dumps(values))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_pictures_and_labels_keep_their_order(tmp_path: Path):
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    arrays_in_order = (images, np.array([2, 0, 1, 2], np.uint8), images[:1] + 100, np.array([1], np.uint8))
    raw, found = _read(
        _raw(tmp_path, {name: idx.encode(array) for name, array in zip(GOOD, arrays_in_order, strict=True)})
    )
    assert np.array_equal(found, np.concatenate([images, images[:1] + 100])[..., None]) and raw.shape == (2, 3, 1)
    assert raw.samples.labels.tolist() == [2, 0, 1, 2, 1] and raw.samples.labels.dtype == np.int64
    assert raw.samples.ids.tolist() == ["train/00000", "train/00001", "train/00002", "train/00003", "test/00000"]
    assert raw.samples.splits.tolist() == ["train"] * 4 + ["test"]
    assert raw.aspects.tolist() == [1.5] * 5
    assert raw.description.title == "Tiny"


def test_transposed_pictures_are_turned_upright(tmp_path: Path):
    _, upright = _read(_raw(tmp_path, GOOD))
    _, turned = _read(_raw(tmp_path, GOOD, transposed=True))
    assert (turned == upright.swapaxes(1, 2)).all() and not (turned == upright).all()


def test_published_pictures_can_be_resized_and_coloured(tmp_path: Path):
    _, plain = _read(_raw(tmp_path, GOOD))
    raw, found = _read(tmp_path, image_size=16, color="rgb")
    assert raw.shape == (16, 16, 3) and (found == found[..., :1]).all()
    assert np.abs(found[..., 0].mean((1, 2)) - plain.mean((1, 2, 3))).max() < 2
    assert np.array_equal(_read(tmp_path, image_size=8)[1], plain)


def test_the_class_is_the_first_of_several_label_columns(tmp_path: Path):
    columns = np.stack([np.arange(12) % 3, np.full(12, -70_000)], axis=1).astype(np.int32)
    raw, _ = _read(_raw(tmp_path, {**GOOD, LABELS: idx.encode(columns)}))
    assert raw.samples.labels[:12].tolist() == [0, 1, 2] * 4


def test_cifar_planes_become_channels(tmp_path: Path):
    records = np.zeros((2, 3073), np.uint8)
    records[:, 0] = [1, 0]
    records[0, 1 + 1024 + 2 * 32 + 5] = 9  # the first picture's green plane, row 2, column 5
    files = {"first": records.tobytes(), "second": records[1:].tobytes(), "third": records[:1].tobytes()}
    roles = [
        {"role": role, "name": name, "bytes": len(files[name]), "sha256": "0" * 64}
        for role, name in zip(("train", "train", "test"), files, strict=True)
    ]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    values = {**idx.description(GOOD), "name": "tiny", "format": "cifar_binary", "files": roles}
    (tmp_path / formats.DESCRIPTION).write_text(json.dumps(values))
    raw, found = _read(tmp_path)
    assert found.shape == (4, 32, 32, 3) and raw.samples.labels.tolist() == [1, 0, 0, 1]
    assert np.argwhere(found[:3]).tolist() == [[0, 2, 5, 1]]
    (tmp_path / "second").write_bytes(files["second"][:-1])
    with pytest.raises(DarkroomError, match=r"second is no CIFAR file or truncated: 3,072 bytes"):
        raw_data.read(tmp_path, SETTINGS)
    (tmp_path / "second").write_bytes(b"\x07" + files["second"][1:])
    with pytest.raises(DarkroomError, match="second has the label 7 at place 0, but there are 3 classes"):
        raw_data.read(tmp_path, SETTINGS)


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int32]), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
    )
)
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
        (
            LABELS,
            idx.encode(np.zeros(11, np.uint8)),
            "train-images-idx3-ubyte holds 12 images, but train-labels-idx1-ubyte 11 labels",
        ),
        (
            LABELS,
            idx.encode(np.array([0] * 11 + [3], np.uint8)),
            "train-labels-idx1-ubyte has the label 3 at place 11, but there are 3 classes (0 to 2)",
        ),
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
        raw_data.read(_raw(tmp_path, {**GOOD, name: data}), SETTINGS)
    assert sentence in str(caught.value)
    assert str(tmp_path) in str(caught.value) and "dvc repro --force fetch" in str(caught.value)


@pytest.mark.parametrize("name", [IMAGES, LABELS, formats.DESCRIPTION])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (_raw(tmp_path, GOOD) / name).unlink()
    with pytest.raises(DarkroomError, match=f"{name} is missing: run `dvc repro --force fetch`"):
        raw_data.read(tmp_path, SETTINGS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve coloured pictures of 10 x 8 in two classes, in a folder of their own; each has the colour of its number."""
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        path = Path(f"data/datasets/mine/{'ab'[number % 2]}/{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 10), (number, 0, 99)).save(path)
    return Path("data/datasets/mine")


def _indexed(**changes: object) -> tuple[raw_data.Raw, np.ndarray, dict[int, str]]:
    index.build(descriptions.load("mine"), "data/raw")
    raw, problems = raw_data.read("data/raw", SETTINGS.model_copy(update=changes)), {}
    return raw, np.concatenate(list(raw.blocks(problems))), problems


def test_a_folder_of_pictures_is_decoded_in_the_order_of_its_index(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formats, "_BLOCK", 5)
    raw, found, problems = _indexed()
    assert raw.shape == (10, 8, 3) and not problems
    assert found[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11] and (found[..., 2] == 99).all()
    assert raw.samples.ids[0] == "a/00.png" and raw.samples.labels.tolist() == [0] * 6 + [1] * 6
    assert set(raw.samples.splits.tolist()) == {"train"} and raw.aspects.tolist() == [1.25] * 12


def test_single_pictures_can_be_taken(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "a" / "02.png").write_text("no picture")
    raw, whole, _ = _indexed()
    decoded, decode = [], image.decode
    monkeypatch.setattr(image, "decode", lambda *arguments: decoded.append(1) or decode(*arguments))
    last, bad, first = raw.take(np.array([11, 1, 0]))
    assert np.array_equal(last, whole[11]) and np.array_equal(first, whole[0])
    assert bad.startswith("it is no picture") and len(decoded) == 2


def test_a_picture_of_an_index_takes_few_bytes(folder: Path):
    index.build(descriptions.load("mine"), "data/raw")
    count, (head, *rows) = 20_000, Path("data/raw/index.csv").read_text().splitlines()
    lines = (rows[number % 12].replace(".png", f"{number:05}.png") for number in range(count))
    Path("data/raw/index.csv").write_text("\n".join([head, *lines]))
    tracemalloc.start()
    raw = raw_data.read("data/raw", SETTINGS)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(raw.samples) == count and raw.samples.ids[-1].endswith("19999.png")
    assert held / count < 150 and peak / count < 350


def test_published_pictures_can_be_taken_too(tmp_path: Path):
    raw, whole = _read(_raw(tmp_path, GOOD))
    assert np.array_equal(raw.take(np.array([12, 0])), whole[[12, 0]])


def test_a_folder_of_pictures_of_many_sizes_becomes_one_size(folder: Path):
    Image.new("L", (200, 100)).save(folder / "a" / "large.png")
    assert _indexed()[1].shape == (13, 64, 64, 3)
    assert _indexed(image_size=16, color="grey", resize="pad")[1].shape == (13, 16, 16, 1)


def test_pictures_that_cannot_be_decoded_are_black_and_named(folder: Path):
    (folder / "a" / "00.png").write_bytes((folder / "a" / "00.png").read_bytes()[:45])
    (folder / "b" / "zero.png").touch()
    Image.new("RGB", (200, 100), "white").save(folder / "b" / "zz.png")
    raw, found, problems = _indexed()
    assert {raw.samples.ids[place]: why for place, why in problems.items()} == {
        "a/00.png": "it is truncated",
        "b/zero.png": "it is empty",
        "b/zz.png": "it has 200 x 100 pixels, more than the 10,000 that max_pixels allows",
    }
    assert not found[list(problems)].any() and len(found) == 14


def test_a_picture_that_changed_since_it_was_indexed_stops_the_run(folder: Path):
    index.build(descriptions.load("mine"), "data/raw")
    Image.new("RGB", (8, 10), "white").save(folder / "b" / "11.png")
    with pytest.raises(DarkroomError, match=r"b/11\.png was changed while the pipeline ran"):
        list(raw_data.read("data/raw", SETTINGS).blocks({}))


def test_a_folder_without_any_picture_is_refused(folder: Path):
    for path in folder.rglob("*.png"):
        path.write_text("no picture")
    with pytest.raises(
        DarkroomError,
        match=r"none of its 12 files is a picture, for example a/00\.png: it is no picture of a known format",
    ):
        _indexed()
