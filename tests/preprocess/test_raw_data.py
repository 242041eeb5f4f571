import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, index
from darkroom.inputs import image, resizing
from darkroom.preprocess import raw_data
from darkroom.preprocess.config import CleanConfig, HistoryConfig, PreprocessConfig, TextConfig
from tests import idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = idx.contents()
RULES = {"constant": True, "leak": True, "near_leak_difference": 0.0, "conflict": True, "duplicate": True}
SETTINGS = PreprocessConfig(
    image_size="auto",
    color="auto",
    intensity_range="auto",
    resize="stretch",
    interpolation="bilinear",
    crop_fraction=1.0,
    test_fraction=0.2,
    val_fraction=0.1,
    denoise="none",
    relabel="none",
    clean=CleanConfig(**RULES, max_aspect=0.0, min_class_size=0),
    max_pixels=10_000,
    max_bad_fraction=0.5,
    labels_per_class="all",
    text=TextConfig(tokenizer="none", vocabulary=500, max_tokens=16),
    history=HistoryConfig(max_length=6, min_user_events=2, min_item_events=1, split="last"),
)


def read(folder: Path, **changes: object) -> tuple[raw_data.Raw, np.ndarray]:
    """Open `folder` and decode all of its images."""
    raw = raw_data.read(folder, SETTINGS.model_copy(update=changes))
    blocks = list(raw.blocks({}))
    assert all(block.dtype == np.uint8 and block.shape[1:] == raw.shape for block in blocks)
    return raw, np.concatenate(blocks)


def raw_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write raw files and their description to `folder`, as the stage fetch does."""
    (folder / descriptions.DESCRIPTION).write_text(json.dumps(idx.description(GOOD, name="tiny")))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_published_images_and_labels_keep_their_order(tmp_path: Path):
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    contents = (images, np.array([2, 0, 1, 2], np.uint8), images[:1] + 100, np.array([1], np.uint8))
    files = {name: idx.encode(array) for name, array in zip(GOOD, contents, strict=True)}
    raw, found = read(raw_files(tmp_path, files))
    assert np.array_equal(found, np.concatenate([images, images[:1] + 100])[..., None]) and raw.shape == (2, 3, 1)
    assert raw.samples.labels.tolist() == [2, 0, 1, 2, 1] and raw.samples.labels.dtype == np.int64
    assert raw.samples.ids.tolist() == ["train/00000", "train/00001", "train/00002", "train/00003", "test/00000"]
    assert raw.samples.splits.tolist() == ["train"] * 4 + ["test"]
    assert raw.aspects.tolist() == [1.5] * 5
    assert raw.description.title == "Tiny"


def test_published_images_can_be_resized_and_converted_to_rgb(tmp_path: Path):
    _, plain = read(raw_files(tmp_path, GOOD))
    raw, found = read(tmp_path, image_size=16, color="rgb")
    assert raw.shape == (16, 16, 3) and (found == found[..., :1]).all()
    assert np.abs(found[..., 0].mean((1, 2)) - plain.mean((1, 2, 3))).max() < 2
    assert np.array_equal(read(tmp_path, image_size=8)[1], plain)


def test_images_are_resized_to_more_pixels_than_a_network_sees(tmp_path: Path):
    _, plain = read(raw_files(tmp_path, GOOD))
    raw, found = read(tmp_path, crop_fraction=0.75, resize="crop", interpolation="bicubic")
    assert (raw.size, raw.shape) == ((8, 8), (10, 10, 1))
    expected = resizing.fit(Image.fromarray(plain[0, ..., 0]), (10, 10), "crop", "bicubic")
    assert np.array_equal(found[0, ..., 0], expected)
    raw, found = read(tmp_path, image_size=5, crop_fraction=0.5)
    assert (raw.size, raw.shape) == ((5, 5), (10, 10, 1))
    assert np.array_equal(read(tmp_path, image_size=4, crop_fraction=0.5)[1], plain)


def test_single_published_images_can_be_taken(tmp_path: Path):
    raw, whole = read(raw_files(tmp_path, GOOD))
    assert np.array_equal(raw.take(np.array([12, 0])), whole[[12, 0]])


def test_an_invalid_file_is_named(tmp_path: Path):
    with pytest.raises(DarkroomError, match=rf"{IMAGES} .*dvc repro --force fetch") as caught:
        raw_data.read(raw_files(tmp_path, {**GOOD, IMAGES: GOOD[IMAGES][:-1]}), SETTINGS)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", [IMAGES, LABELS, descriptions.DESCRIPTION])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (raw_files(tmp_path, GOOD) / name).unlink()
    with pytest.raises(DarkroomError, match=f"{name} is missing: run `dvc repro --force fetch`"):
        raw_data.read(tmp_path, SETTINGS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve RGB images of 10 x 8 pixels in two classes; the red value is the number of the image."""
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        path = Path(f"data/datasets/mine/{'ab'[number % 2]}/{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 10), (number, 0, 99)).save(path)
    return Path("data/datasets/mine")


def indexed(**changes: object) -> tuple[raw_data.Raw, np.ndarray, dict[int, str]]:
    """Index the folder and decode all of its images; also returns why some could not be decoded, by index."""
    index.build(descriptions.load("mine"), "data/raw")
    raw, problems = raw_data.read("data/raw", SETTINGS.model_copy(update=changes)), {}
    return raw, np.concatenate(list(raw.blocks(problems))), problems


def test_an_image_folder_is_decoded_in_the_order_of_its_index(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raw_data, "_BLOCK", 5)
    assert [len(block) for block in indexed()[0].blocks({})] == [5, 5, 2]
    monkeypatch.setattr(raw_data, "_BLOCK_BYTES", 10 * 8 * 3 * 4 + 1)
    assert [len(block) for block in indexed()[0].blocks({})] == [4, 4, 4]
    raw, found, problems = indexed()
    assert raw.shape == (10, 8, 3) and not problems
    assert found[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11] and (found[..., 2] == 99).all()
    assert raw.samples.ids[0] == "a/00.png" and raw.samples.labels.tolist() == [0] * 6 + [1] * 6
    assert set(raw.samples.splits.tolist()) == {"train"} and raw.aspects.tolist() == [1.25] * 12


def test_single_images_of_a_folder_can_be_taken(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "a" / "02.png").write_text("not an image")
    raw, whole, problems = indexed()
    decoded, decode = [], image.decode
    monkeypatch.setattr(image, "decode", lambda *arguments: decoded.append(1) or decode(*arguments))
    last, reason, first = raw.take(np.array([11, 1, 0]))
    assert np.array_equal(last, whole[11]) and np.array_equal(first, whole[0])
    assert reason == problems[1] and len(decoded) == 2


def test_an_indexed_image_takes_few_bytes_of_memory(folder: Path):
    index.build(descriptions.load("mine"), "data/raw")
    count, (head, *rows) = 20_000, Path("data/raw/index.csv").read_text().splitlines()
    lines = (rows[number % 12].replace(".png", f"{number:05}.png") for number in range(count))
    long = rows[0].replace("a/", f"a/{'long' * 250}/")
    assert long != rows[0]
    Path("data/raw/index.csv").write_text("\n".join([head, long, *lines]))
    tracemalloc.start()
    raw = raw_data.read("data/raw", SETTINGS)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(raw.samples) == count + 1 and raw.samples.ids[-1].endswith("19999.png")
    assert held / count < 150 and peak / count < 350


def test_images_of_several_sizes_are_resized_to_one(folder: Path):
    Image.new("L", (200, 100)).save(folder / "a" / "large.png")
    assert indexed()[1].shape == (13, 64, 64, 3)
    assert indexed(image_size=16, color="grey", resize="pad")[1].shape == (13, 16, 16, 1)
    raw, found, _ = indexed(image_size=16, crop_fraction=0.875, interpolation="bicubic")
    assert (raw.size, found.shape) == ((16, 16), (13, 18, 18, 3))
    with Image.open(folder / "a" / "large.png") as large:
        expected = resizing.fit(large.convert("RGB"), (18, 18), "stretch", "bicubic")
    assert np.array_equal(found[raw.samples.ids == "a/large.png"][0], expected)


def test_images_that_cannot_be_decoded_are_black_and_listed_with_the_reason(folder: Path):
    (folder / "a" / "00.png").write_bytes((folder / "a" / "00.png").read_bytes()[:45])
    (folder / "b" / "zero.png").touch()
    Image.new("RGB", (200, 100), "white").save(folder / "b" / "zz.png")
    raw, found, problems = indexed()
    reasons = {raw.samples.ids[number]: reason for number, reason in problems.items()}
    assert reasons.keys() == {"a/00.png", "b/zero.png", "b/zz.png"}
    assert "truncated" in reasons["a/00.png"] and "empty" in reasons["b/zero.png"]
    assert "200 x 100 pixels" in reasons["b/zz.png"] and "10,000" in reasons["b/zz.png"]
    assert not found[list(problems)].any() and len(found) == 14


def test_an_image_that_changed_after_it_was_indexed_stops_the_run(folder: Path):
    index.build(descriptions.load("mine"), "data/raw")
    Image.new("RGB", (8, 10), "white").save(folder / "b" / "11.png")
    with pytest.raises(DarkroomError, match=r"b/11\.png was changed"):
        list(raw_data.read("data/raw", SETTINGS).blocks({}))


def test_a_folder_without_any_usable_image_is_an_error(folder: Path):
    for path in folder.rglob("*.png"):
        path.write_text("not an image")
    with pytest.raises(DarkroomError, match=r"none of its 12 labelled files .*a/00\.png"):
        indexed()


def test_unlabelled_images_choose_neither_size_nor_colours(folder: Path):
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    (folder / "unlabelled").mkdir()
    Image.new("RGB", (40, 30)).save(folder / "unlabelled" / "0.png")
    assert indexed()[0].shape == (10, 8, 1)
    for path in folder.glob("[ab]/*.png"):
        path.write_text("not an image")
    with pytest.raises(DarkroomError, match=r"none of its 12 labelled files .*a/00\.png"):
        indexed()


@pytest.fixture
def deep_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight images of 16 bits that use a narrow range in training, and two test images that exceed it."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(10):
        split, label = "test" if number > 7 else "train", "ab"[number % 2]
        values = random.integers(0, 65_536, (20, 20)) if split == "test" else random.integers(7_300, 8_201, (20, 20))
        path = Path(f"data/datasets/mine/{split}/{label}/{number}.{['png', 'tif'][number // 2 % 2]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint16)).save(path)
    return Path("data/datasets/mine")


def test_the_range_of_16_bit_images_is_that_of_the_training_images(deep_folder: Path):
    raw, found, problems = indexed()
    assert not problems and raw.shape == (20, 20, 1)
    low, high = raw.intensities.range
    assert 7_300 <= low < 7_310 and 8_190 < high <= 8_200 and raw.intensities.warning is None
    train = raw.samples.splits == "train"
    assert all(len(np.unique(one)) > 128 for one in found[train])
    path = Path("data/datasets/mine") / raw.samples.ids.item(int(np.flatnonzero(train)[0]))
    original = np.asarray(Image.open(path)).astype(int)
    assert np.array_equal(found[train][0, ..., 0], np.clip((original - low) * 256 // (high - low), 0, 255))


def test_a_given_range_is_used_and_lost_levels_are_reported(deep_folder: Path):
    raw, found, _ = indexed(intensity_range=[0, 65_535])
    assert raw.intensities.range == (0, 65_535) and raw.intensities.coarse == 8
    assert raw.intensities.warning.startswith("8 of 8 training images")
    assert all(len(np.unique(one)) <= 5 for one in found[raw.samples.splits == "train"])


def test_images_of_8_bits_have_no_range(folder: Path):
    raw, _, _ = indexed()
    assert raw.intensities.range is None and raw.intensities.images == 0
