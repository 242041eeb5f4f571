"""Unlabelled examples and hidden labels, from the samples to the selection and the packed arrays."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.core import arrays
from darkroom.core.arrays import TEXT, UNLABELLED, Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.preprocess import hiding, packing, selection
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.samples import NO_LABEL, Samples
from darkroom.preprocess.selection import Selection
from tests.packs import DESCRIBED, PREPROCESSING
from tests.preprocess.test_selection import CLASSES, RULES, SCENES, SETTINGS, SHAPE, scanned

ANSWERS = "id,label,by,at\n"


def select(
    folder: Path,
    rows: Sequence[tuple],
    labels_per_class: int | str = "all",
    unusable: Sequence[int] = (),
    groups: Sequence[str] | None = None,
    relabel: str = "none",
    **rules: float,
) -> Selection:
    """Select from rows (label, split, scene, brightness); an image of the scene -1 has one colour.

    The id of a row is its class and its number, and so is its column `note`.
    """
    images = np.stack([SCENES[scene] + np.uint8(more) if scene >= 0 else 0 * SCENES[0] for *_, scene, more in rows])
    ids = np.array([f"{CLASSES[row[0]] if row[0] >= 0 else 'x'}/{number}" for number, row in enumerate(rows)], TEXT)
    samples = Samples(
        ids,
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array(groups or [""] * len(rows), TEXT),
        {"note": ids},
    )
    dataset = SimpleNamespace(
        folder=folder, classes=CLASSES[:2], augmentation=Augmentation(flip=False, shift=0), kind="image"
    )
    values = {**SETTINGS, "labels_per_class": labels_per_class, "relabel": relabel}
    clean = CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0, **rules})
    with packing.Pack(folder, SHAPE) as pack:
        chosen = PreprocessConfig(**values, clean=clean)
        return selection.select(scanned(pack, images, dataset, samples, unusable), chosen, 0)


def labelled(train: int = 3) -> list[tuple]:
    """Two validation and two test images, and `train` training images of each of two classes, of different scenes."""
    parts = ["train"] * 2 * train + ["val"] * 4 + ["test"] * 4
    return [(number % 2, split, number, 0) for number, split in enumerate(parts)]


def without(*images: tuple[int, int]) -> list[tuple]:
    """Unlabelled images, by scene and brightness."""
    return [(NO_LABEL, UNLABELLED, *image) for image in images]


def problems(found: Selection) -> dict[str, str]:
    return {finding.id: finding.rule for finding in found.findings if finding.split == UNLABELLED}


def test_unlabelled_images_are_cleaned_like_training_images(tmp_path: Path):
    rows = labelled()  # train: scenes 0 to 5, validation: 6 to 9, test: 10 to 13
    rows += without((20, 0), (20, 0), (0, 0), (6, 0), (10, 0), (11, 1), (7, 1), (-1, 0), (21, 0), (22, 0), (1, 1))
    groups = [""] * 12 + ["p"] * 2 + [""] * 9 + ["p", ""]
    found = select(tmp_path, rows, unusable=[22], groups=groups)
    assert problems(found) == {
        "x/15": "duplicate", "x/16": "duplicate", "x/17": "leak", "x/18": "leak", "x/19": "near_leak",
        "x/20": "near_leak", "x/21": "constant", "x/22": "unusable", "x/23": "leak",
    }  # fmt: skip
    kept = found.samples.indices(UNLABELLED)
    assert found.samples.ids[kept].tolist() == ["x/14", "x/24"]
    assert set(found.samples.labels[kept].tolist()) == {NO_LABEL}
    assert "test set" in found.warning


def test_a_rule_that_is_off_removes_nothing(tmp_path: Path):
    rows = labelled() + without((0, 0), (10, 0), (-1, 0))
    found = select(tmp_path, rows, near_leak_difference=0.0, constant=False, leak=False, duplicate=False)
    assert problems(found) == {} and found.warning == ""


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_unlabelled_images_change_no_other_split(tmp_path: Path, split: str):
    rows = [row for row in labelled(8) if split == "train" or row[1] != split]
    alone = select(tmp_path, rows)
    beside = select(tmp_path, [*rows, *without(*((scene, 1) for scene in range(40, 60)))])
    assert beside.samples.splits[: len(rows)].tolist() == alone.samples.splits.tolist()
    assert beside.samples.labels[: len(rows)].tolist() == alone.samples.labels.tolist()
    assert len(beside.samples.indices(UNLABELLED)) == 20


def test_unlabelled_images_and_hidden_labels_leave_all_near_duplicates_in_the_table(tmp_path: Path):
    rows = [*labelled(), (0, "train", 10, 1), (1, "train", 20, 0), (1, "train", 20, 1)]  # the scene 10 is in the test
    alone = select(tmp_path, rows).near_duplicates
    beside = select(tmp_path, [*rows, *without((30, 0), (30, 1))]).near_duplicates
    names = {frozenset(pair) for pair in alone[["first", "second"]].to_numpy().tolist()}
    assert len(names) == 2
    found = {frozenset(pair) for pair in beside[["first", "second"]].to_numpy().tolist()}
    assert found == {*names, frozenset(["x/17", "x/18"])}
    assert len(beside) == 3 and beside["difference"].is_monotonic_increasing
    hidden = select(tmp_path, rows, labels_per_class=3).near_duplicates
    assert not {"cat/14", "dog/14"} & set(hidden[["first", "second"]].to_numpy().ravel().tolist())


def test_a_selection_without_any_unlabelled_image_left_is_explained(tmp_path: Path):
    found = select(tmp_path, labelled() + without((0, 0), (-1, 0)))
    assert not len(found.samples.indices(UNLABELLED)) and "all of 2" in found.warning


def test_unlabelled_images_of_one_scene_with_the_test_set_are_refused(tmp_path: Path):
    held_out = [row for row in labelled() if row[1] != "train"]
    with pytest.raises(DarkroomError, match=r"8 of 8 unlabelled examples nearly equal .* copies, remove them\."):
        select(tmp_path, labelled() + without(*((scene, 1) for *_, scene, _ in held_out)))


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 20))
def test_hidden_labels_are_stratified_and_nested(count: int, more: int, seed: int):
    labels = np.array([0, 1, 1] * 12)
    names = np.array([f"{label}/{number}" for number, label in enumerate(labels)], TEXT)
    samples = Samples(names, labels, np.full(36, "train"), np.full(36, "", TEXT))
    shown = []
    for wanted in (count, count + more):
        indices = hiding.choose(samples, np.arange(36), np.arange(36), wanted, CLASSES[:2], seed)
        shown.append(set(range(36)) - set(indices.tolist()))
        assert np.bincount(labels[list(shown[-1])]).tolist() == [wanted, wanted]
    assert shown[0] <= shown[1]


def test_more_labels_than_there_are_name_the_class(tmp_path: Path):
    with pytest.raises(DarkroomError, match=r"labels_per_class = 4: the class 'cat' has 3 training examples .* 3"):
        select(tmp_path, [*labelled(), (1, "train", 90, 0)], labels_per_class=4)


def test_hidden_examples_carry_nothing_that_names_their_class(tmp_path: Path):
    groups = [f"{CLASSES[row[0]]} {number}" for number, row in enumerate(labelled(8))]
    found = select(tmp_path, labelled(8), labels_per_class=3, groups=groups)
    hidden = found.samples.indices(UNLABELLED)
    assert np.bincount(found.samples.labels[found.samples.indices("train")]).tolist() == [3, 3] and len(hidden) == 10
    assert set(found.samples.labels[hidden].tolist()) == {NO_LABEL}
    assert set(found.samples.groups[hidden].tolist()) == set(found.samples.columns["note"][hidden].tolist()) == {""}
    assert all(name.startswith("hidden/") for name in found.samples.ids[hidden].tolist())
    assert found.samples.ids[hidden].tolist() != sorted(found.samples.ids[hidden].tolist())  # not in the order of rows


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), min_size=40, max_size=40), st.integers(1, 4))
def test_nothing_that_is_written_depends_on_a_hidden_label(tmp_path: Path, swapped: list[bool], count: int):
    """Hidden examples get other labels: all that the stage writes must stay the same, byte for byte.

    Their ids stay, and so does the choice of the examples that keep their label, whose ranks are the first ones. Some
    of the hidden examples are copies and near copies of others.
    """
    scenes = [*range(20, 50), 20, 21, 22, 23, 24, 6, 10, 7, 11, 25]
    brightness = [0] * 30 + [0, 0, 1, 1, 0, 0, 1, 1, 0, 1]
    ids = np.array([f"photo/{number}" for number in range(60)], TEXT)
    pool = sorted(range(20, 60), key=lambda number: derive_seed(0, "labels", ids[number]))
    written = []
    for flips in ([False] * 40, swapped):
        rows = labelled(6)  # 12 training images, whose scenes come first
        labels = {number: number % 2 for number in range(20, 60)}
        labels |= {number: 1 - labels[number] for number, flip in zip(pool[-30:], flips, strict=False) if flip}
        rows += [
            (labels[number], "train", scene, more)
            for number, scene, more in zip(range(20, 60), scenes, brightness, strict=True)
        ]
        written.append(_written(tmp_path, rows, ids, count))
    assert written[0] == written[1]


def _written(folder: Path, rows: list[tuple], ids: np.ndarray, count: int) -> dict[str, bytes]:
    images = np.stack([SCENES[scene] + np.uint8(more) for *_, scene, more in rows])
    labels, splits = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    samples = Samples(ids, labels, splits, np.full(len(rows), "", TEXT))
    dataset = SimpleNamespace(
        folder=folder, classes=CLASSES[:2], augmentation=Augmentation(flip=False, shift=0), kind="image"
    )
    chosen = PreprocessConfig(
        **{**SETTINGS, "labels_per_class": count},
        clean=CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0}),
    )
    described = SimpleNamespace(name="toy", **{key: DESCRIBED[key] for key in ("title", "licence", "augmentation")})
    with packing.Pack(folder, SHAPE) as pack:
        found = selection.select(scanned(pack, images, dataset, samples), chosen, 0)
        packing.write(folder / "arrays", pack, found.samples, described, found.classes, SHAPE, PREPROCESSING)
    files = {path.name: path.read_bytes() for path in sorted((folder / "arrays").iterdir())}
    files["findings"] = repr(found.findings).encode()
    files["near"] = found.near_duplicates.to_csv().encode()
    return files


def test_hidden_examples_can_be_labelled_by_hand(tmp_path: Path):
    before = select(tmp_path, labelled(8), labels_per_class=3)
    first, second, third, *_ = np.sort(before.samples.ids[before.samples.indices(UNLABELLED)]).tolist()
    rows = (
        f"{name},{label},anna,2026-01-31T12:00:00Z" for name, label in ((first, "dog"), (second, "cat"), (third, ""))
    )
    (tmp_path / "labels.csv").write_text(ANSWERS + "\n".join(rows) + "\n")
    after = select(tmp_path, labelled(8), labels_per_class=3, relabel="auto")
    place = {name: index for index, name in enumerate(after.samples.ids.tolist())}
    assert after.samples.splits[[place[first], place[second], place[third]]].tolist() == ["train", "train", ""]
    assert after.samples.labels[[place[first], place[second]]].tolist() == [1, 0]
    assert [(finding.id, finding.action) for finding in after.findings] == [
        (first, "labelled"), (second, "labelled"), (third, "removed"),
    ]  # fmt: skip
    assert len(after.samples.indices(UNLABELLED)) == 7
    assert select(tmp_path, labelled(8), labels_per_class=8, relabel="auto").findings == []  # their labels are known


def test_an_unlabelled_image_with_a_label_becomes_a_training_image(tmp_path: Path):
    rows = [row for row in labelled(8) if row[1] == "train"] + without(*((scene, 0) for scene in range(40, 60)))
    answers = [f"x/{number},dog,anna,2026-01-31T12:00:00Z" for number in range(16, 30)]
    (tmp_path / "labels.csv").write_text(ANSWERS + "\n".join([*answers, "x/30,,anna,2026-01-31T12:00:00Z"]) + "\n")
    found = select(tmp_path, rows, relabel="auto")
    assert set(found.samples.splits[16:30].tolist()) == {"train"} and set(found.samples.labels[16:30].tolist()) == {1}
    assert found.samples.splits[30] == "" and len(found.samples.indices(UNLABELLED)) == 5
    assert {finding.rule for finding in found.findings} == {"labelled", "unclear"}


def test_unlabelled_images_are_packed_whole_and_in_the_order_of_their_ids(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 1), dtype=np.uint8)
    ids = np.array(["a", "z", "b", "y", "c", "x", "d"], TEXT)
    splits = np.array(["train", UNLABELLED, "train", UNLABELLED, "val", UNLABELLED, "test"])
    samples = Samples(ids, np.array([0, -1, 1, -1, 0, -1, 1]), splits, np.full(7, "", TEXT), {"site": ids})
    dataset = SimpleNamespace(name="toy", **{key: DESCRIBED[key] for key in ("title", "licence", "augmentation")})
    plain = replace(samples, splits=np.where(splits == UNLABELLED, "", splits))
    with packing.Pack(tmp_path, (6, 6, 1)) as pack:
        for _ in pack.keep([images]):
            pass
        shared = dataset, ("a", "b"), (4, 4, 1), PREPROCESSING
        written = packing.write(tmp_path / "arrays", pack, samples, *shared)
        without_any = packing.write(tmp_path / "plain", pack, plain, *shared)
    split = arrays.read_unlabelled(tmp_path / "arrays")
    assert split.ids.tolist() == ["x", "y", "z"] and split.labels.tolist() == [-1] * 3
    assert (split.uncropped == images[[5, 3, 1]]).all() and (split.inputs == images[[5, 3, 1], 1:5, 1:5]).all()
    assert arrays.read_columns(tmp_path / "arrays", UNLABELLED)["site"].tolist() == ["x", "y", "z"]
    assert not (tmp_path / "arrays" / "unlabelled.labels.npy").exists()
    assert dict(written.counts) == {"train": 2, "val": 1, "test": 1, "unlabelled": 3}
    assert (written.mean, written.test_sha256) == (without_any.mean, without_any.test_sha256)
    assert written.sha256 != without_any.sha256 and arrays.read_unlabelled(tmp_path / "plain") is None
    assert "unlabelled" not in json.loads((tmp_path / "plain" / "manifest.json").read_text())["counts"]


@pytest.mark.parametrize("size", [4, 6])
def test_hidden_examples_that_were_labelled_are_packed_last(tmp_path: Path, size: int):
    """Their place in the dataset would tell their class."""
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 1), dtype=np.uint8)
    splits = np.array(["train", "train", "train", "train", "val", "train", "test"])
    samples = Samples(np.array(list("abcdefg"), TEXT), np.array([0, 0, 0, 1, 0, 1, 1]), splits, np.full(7, "", TEXT))
    names = np.array([f"hidden/{6 - number}" for number in range(7)], TEXT)
    hidden = hiding.hide(samples, np.array([1, 2, 5]), names)
    labels = np.where(hidden.labels == NO_LABEL, [1, 0, 1, 0, 1, 0, 1], hidden.labels)
    answered = replace(hidden, labels=labels).move(np.array([1, 2]), "train")
    dataset = SimpleNamespace(name="toy", **{key: DESCRIBED[key] for key in ("title", "licence", "augmentation")})
    with packing.Pack(tmp_path, (6, 6, 1)) as pack:
        for _ in pack.keep([images]):
            pass
        written = packing.write(
            tmp_path / "arrays", pack, answered, dataset, ("a", "b"), (size, size, 1), PREPROCESSING
        )
    train, unlabelled = (arrays.read_split(tmp_path / "arrays", name) for name in ("train", UNLABELLED))
    assert train.ids.tolist() == ["a", "d", "hidden/4", "hidden/5"] and train.labels.tolist() == [0, 1, 1, 0]
    assert (train.uncropped == images[[0, 3, 2, 1]]).all() and unlabelled.ids.tolist() == ["hidden/1"]
    assert written.mean[0] == pytest.approx(train.inputs.mean() / 255)
