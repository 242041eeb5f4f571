"""Classes without labelled images of their own: drawn splits, too few labels, and what is selected then."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.core.arrays import TEXT, UNLABELLED, Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.preprocess import cold_start, packing, selection
from darkroom.preprocess.cold_start import ColdStart, draw
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.samples import NO_LABEL, Samples
from darkroom.preprocess.selection import Selection
from tests.preprocess.test_selection import RULES, SCENES, SETTINGS, SHAPE, scanned

CLASSES = ("cat", "dog", "owl")
WITHOUT = "classes without a labelled training example"
DRAWN = {"test": 0.2, "val": 0.16}  # of test_fraction = val_fraction = 0.2
NAMES = [f"unlabelled/{number:03}.png" for number in range(60)]
SPLITS = dict(zip(NAMES, draw(NAMES, DRAWN).tolist(), strict=True))


def table(labels: Sequence[int], splits: Sequence[str] | None = None, groups: Sequence[str] = ()) -> Samples:
    """Samples with these labels; without splits, all are in training."""
    count = len(labels)
    ids = np.array(NAMES[:count], TEXT)
    return Samples(ids, np.array(labels), np.array(splits or ["train"] * count), np.array(groups or [""] * count, TEXT))


@given(st.dictionaries(st.sampled_from(["test", "val"]), st.floats(0, 0.5)), st.sets(st.text(), max_size=40))
def test_a_draw_depends_on_the_name_alone(fractions: dict[str, float], names: set[str]):
    names = sorted(names)
    drawn = draw(names, fractions)
    assert drawn.tolist() == [draw([name], fractions)[0] for name in names]
    assert set(drawn.tolist()) <= {*fractions, "train"}


def test_the_fractions_are_drawn():
    names = [str(number) for number in range(20_000)]
    drawn = draw(names, {"test": 0.2, "val": 0.08})
    assert [np.mean(drawn == split) for split in ("test", "val", "train")] == pytest.approx([0.2, 0.08, 0.72], abs=0.01)
    assert set(draw(names, {}).tolist()) == {"train"}


def test_a_larger_test_fraction_keeps_what_a_smaller_one_has():
    small, large = (draw(NAMES, {"test": fraction}) == "test" for fraction in (0.1, 0.4))
    assert (small <= large).all() and small.sum() < large.sum()


@pytest.mark.parametrize(
    ("labels", "splits", "without", "fractions"),
    [
        ([0, 1, 2, NO_LABEL], ["train"] * 3 + [UNLABELLED], [], {}),
        ([0, 1, 2], ["train", "train", "test"], [], {}),
        ([0, 1, NO_LABEL], ["train", "train", UNLABELLED], ["owl"], DRAWN),
        ([0, 1, NO_LABEL], ["train", "test", UNLABELLED], ["dog", "owl"], {"val": 0.2}),
        ([0, 0, NO_LABEL], ["val", "test", UNLABELLED], list(CLASSES), {}),
        ([NO_LABEL] * 3, [UNLABELLED] * 3, list(CLASSES), DRAWN),
    ],
)
def test_splits_that_the_dataset_has_are_not_drawn(labels: list, splits: list, without: list, fractions: Mapping):
    found = cold_start.find(table(labels, splits), SimpleNamespace(classes=CLASSES, kind="image"), 0.2, 0.2)
    assert (list(found.without), dict(found.fractions)) == (without, pytest.approx(dict(fractions)))


def test_only_new_labels_of_such_classes_are_held_out():
    labels = [0, 1] + [2, 0] * 29
    newly = np.arange(2, 60)
    found = ColdStart(CLASSES, ["owl"], DRAWN).hold_out(table(labels), newly)
    for index, (name, label) in enumerate(zip(NAMES, labels, strict=True)):
        assert found.splits[index] == (SPLITS[name] if label == 2 else "train")
    assert set(found.splits.tolist()) == {"train", "val", "test"}


def test_a_group_is_drawn_as_a_whole_and_follows_its_labelled_examples():
    groups = ["known", "known", *("abcdefghij"[number % 10] for number in range(58))]
    found = ColdStart(CLASSES, ["owl"], DRAWN).hold_out(table([0] + [2] * 59, groups=groups), np.arange(1, 60))
    assert found.splits[1] == "train"
    by_group = {group: set(found.splits[found.groups == group].tolist()) for group in "abcdefghij"}
    assert all(by_group[group] == {draw([group], DRAWN)[0]} for group in "abcdefghij")


def labels_csv(folder: Path, labels: Mapping[str, str]) -> None:
    rows = "".join(f"{name},{label},anna,2026-01-01T00:00:00Z\n" for name, label in labels.items())
    (folder / "labels.csv").write_text(f"id,label,by,at\n{rows}")


def select(folder: Path, labelled: Sequence[tuple[str, str]] = (), count: int = 60, **changes: object) -> Selection:
    """Select from `labelled` images (class, split) and `count` unlabelled ones; labels.csv is read."""
    ids = [*NAMES[:count], *(f"{name}/{number}.png" for number, (name, _) in enumerate(labelled))]
    samples = Samples(
        np.array(ids, TEXT),
        np.array([NO_LABEL] * count + [CLASSES.index(name) for name, _ in labelled]),
        np.array([UNLABELLED] * count + [split for _, split in labelled]),
        np.full(len(ids), "", TEXT),
    )
    dataset = SimpleNamespace(
        folder=folder, classes=CLASSES, augmentation=Augmentation(flip=False, shift=0), kind="image"
    )
    clean = CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0})
    chosen = PreprocessConfig(**{**SETTINGS, "relabel": "auto", **changes}, clean=clean)
    with packing.Pack(folder, SHAPE) as pack:
        return selection.select(scanned(pack, SCENES[: len(ids)], dataset, samples), chosen, 0)


def counts(found: Selection) -> dict[str, int]:
    return {split: len(found.samples.indices(split)) for split in ("train", "val", "test", UNLABELLED)}


def test_without_any_label_all_images_are_unlabelled(tmp_path: Path):
    found = select(tmp_path)
    assert counts(found) == {"train": 0, "val": 0, "test": 0, UNLABELLED: 60}
    assert found.classes == CLASSES and found.samples.cold_start["drawn"] == pytest.approx(DRAWN)
    assert found.samples.cold_start["incomplete"] == "no example has a label yet"


def first(split: str, number: int) -> list[str]:
    """The first names that are drawn for a split."""
    return [name for name in NAMES if SPLITS[name] == split][:number]


def test_until_the_labels_suffice_none_is_held_out(tmp_path: Path):
    few = dict(zip(first("train", 3), ("cat", "dog", "cat"), strict=True)) | {first("test", 1)[0]: "owl"}
    labels_csv(tmp_path, few)
    found = select(tmp_path)
    assert counts(found) == {"train": 4, "val": 0, "test": 0, UNLABELLED: 56}
    assert found.samples.cold_start["incomplete"].endswith(": owl")
    assert {finding.id: finding.action for finding in found.findings} == dict.fromkeys(few, "labelled")
    more = {**few, first("train", 4)[3]: "owl"}
    labels_csv(tmp_path, more)
    assert "split test are of 1 class" in select(tmp_path).samples.cold_start["incomplete"]
    more |= {first("test", 2)[1]: "cat", first("val", 1)[0]: "dog"}
    labels_csv(tmp_path, more)
    assert "split val are of 1 class" in select(tmp_path).samples.cold_start["incomplete"]
    more |= {first("val", 2)[1]: "cat"}
    labels_csv(tmp_path, more)
    found = select(tmp_path)
    assert not found.samples.cold_start["incomplete"]
    assert counts(found) == {"train": 4, "val": 2, "test": 2, UNLABELLED: 52}
    assert all(SPLITS[finding.id] == finding.split for finding in found.findings)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_labels=st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*CLASSES, ""])))
def test_labels_suffice_or_what_is_missing_is_said(tmp_path: Path, given_labels: dict[str, str]):
    labels_csv(tmp_path, given_labels)
    found = select(tmp_path)
    held_out = np.isin(found.samples.splits, ["val", "test"])
    with_label = {name for name, label in given_labels.items() if label}
    if found.samples.cold_start["incomplete"]:
        assert not held_out.any() and counts(found)["train"] == len(with_label)
        return
    splits = dict(zip(found.samples.ids.tolist(), found.samples.splits.tolist(), strict=True))
    assert all(splits[name] == SPLITS[name] for name in with_label)
    assert all(splits[name] == UNLABELLED for name in NAMES if name not in given_labels)
    for split, least in (("train", 3), ("val", 2), ("test", 2)):
        assert len(set(found.samples.labels[found.samples.splits == split].tolist())) >= least


def test_a_class_without_images_beside_others(tmp_path: Path):
    """Labels of the other classes stay in training: these have images of their own to hold out."""
    own = [("cat", "train")] * 10 + [("dog", "train")] * 10
    found = select(tmp_path, own)
    assert counts(found) == {"train": 20, "val": 0, "test": 0, UNLABELLED: 60}
    assert found.samples.cold_start["incomplete"].endswith(": owl")
    given = {**dict.fromkeys(first("train", 2), "owl"), first("test", 1)[0]: "owl", first("test", 2)[1]: "cat"}
    labels_csv(tmp_path, given)
    found = select(tmp_path, own)
    assert not found.samples.cold_start["incomplete"]
    splits = dict(zip(found.samples.ids.tolist(), found.samples.splits.tolist(), strict=True))
    assert [splits[name] for name in given] == ["train", "train", "test", "train"]
    assert counts(found) == {"train": 16, "val": 3, "test": 5, UNLABELLED: 56}


def test_splits_that_the_dataset_has_stay(tmp_path: Path):
    own = [(name, split) for split in ("val", "test") for name in CLASSES]
    found = select(tmp_path, own)
    assert counts(found) == {"train": 0, "val": 3, "test": 3, UNLABELLED: 60}
    assert found.samples.cold_start == {"drawn": {}, "incomplete": f"{WITHOUT}: cat, dog, owl"}
    labels_csv(tmp_path, dict(zip(NAMES, CLASSES, strict=False)))
    found = select(tmp_path, own)
    assert counts(found) == {"train": 3, "val": 3, "test": 3, UNLABELLED: 57}
    assert found.samples.cold_start == {"drawn": {}, "incomplete": ""}


def test_images_that_cannot_be_used_do_not_count(tmp_path: Path):
    with pytest.raises(DarkroomError, match="None of 1 example can be used: 1 constant"):
        select_constant(tmp_path)


def select_constant(folder: Path) -> Selection:
    samples = table([NO_LABEL], [UNLABELLED])
    dataset = SimpleNamespace(
        folder=folder, classes=CLASSES, augmentation=Augmentation(flip=False, shift=0), kind="image"
    )
    clean = CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0})
    with packing.Pack(folder, SHAPE) as pack:
        examples = scanned(pack, np.zeros((1, *SHAPE), np.uint8), dataset, samples)
        return selection.select(examples, PreprocessConfig(**SETTINGS, clean=clean), 0)
