import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from darkroom.core.arrays import Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.preprocess import cleaning, duplicates, packing, selection
from darkroom.preprocess.cleaning import REMOVED
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.samples import Samples
from darkroom.preprocess.selection import Selection

CLASSES = ("cat", "dog", "owl")
NAME = "corrections.csv"
SHAPE = (8, 8, 1)
SCENES = np.random.default_rng(0).integers(20, 236, (100, *SHAPE), dtype=np.uint8)
RULES = {"constant": True, "leak": True, "near_leak_difference": 0.15, "conflict": True, "duplicate": True}
SETTINGS = {
    "image_size": "auto",
    "color": "auto",
    "intensity_range": "auto",
    "resize": "stretch",
    "interpolation": "bilinear",
    "crop_fraction": 1.0,
    "denoise": "none",
    "relabel": "none",
    "labels_per_class": "all",
    "max_pixels": 10_000,
    "max_bad_fraction": 1.0,
    "text": {"tokenizer": "none", "vocabulary": 500, "max_tokens": 16},
    "history": {"max_length": 6, "min_user_events": 2, "min_item_events": 1, "split": "last"},
    "test_fraction": 0.2,
    "val_fraction": 0.2,
}


def select(
    folder: Path,
    rows: list[tuple],
    unusable: tuple[int, ...] = (),
    corrections: dict[int, str] | None = None,
    relabel: str = "none",
    **rules: float,
) -> Selection:
    """Select from rows (label, split, scene, brightness). Images of one scene with other brightness are near copies."""
    labels, splits, scenes, brightness = (np.array(column) for column in zip(*rows, strict=True))
    ids = np.array([f"{index}.png" for index in range(len(rows))])
    images = SCENES[scenes] + brightness.astype(np.uint8)[:, None, None, None]
    description = SimpleNamespace(
        folder=folder, classes=CLASSES[: labels.max() + 1], augmentation=Augmentation(flip=False, shift=0), kind="image"
    )
    samples = Samples(ids, labels, splits, np.full(len(rows), ""))
    if corrections is not None:
        lines = [f"{index}.png,{label}\n" for index, label in corrections.items()]
        (folder / NAME).write_text("".join(["id,label\n", *lines]))
    chosen = PreprocessConfig(
        **{**SETTINGS, "relabel": relabel if corrections is None else NAME},
        clean=CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0, **rules}),
    )
    with packing.Pack(folder, SHAPE) as pack:
        return selection.select(scanned(pack, images, description, samples, unusable), chosen, 0)


def scanned(
    pack: packing.Pack,
    images: np.ndarray,
    description: SimpleNamespace,
    samples: Samples,
    unusable: Sequence[int] = (),
) -> SimpleNamespace:
    """The images (N, H, W, C) uint8 as `selection.Examples`, written to the pack."""
    return SimpleNamespace(
        description=description,
        samples=samples,
        scan=cleaning.scan_pixels(pack.keep([images])),
        unusable=dict.fromkeys(unusable, "truncated"),
        aspects=np.ones(len(images)),
        near_duplicates=partial(duplicates.find_pairs, pack),
    )


def rows_of(**splits: str) -> list[tuple]:
    """One image of its own scene per letter: c(at), d(og) or o(wl)."""
    letters = [("cdo".index(letter), name) for name, text in splits.items() for letter in text]
    return [(label, name, scene, 0) for scene, (label, name) in enumerate(letters)]


ROWS = st.tuples(
    st.integers(0, 2), st.sampled_from(["train", "train", "val", "test"]), st.integers(0, 30), st.integers(0, 1)
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ROWS, min_size=6, max_size=40),
    st.sets(st.sampled_from(["val", "test"])),
    st.sets(st.integers(0, 39), max_size=12),
    st.none() | st.dictionaries(st.integers(0, 39), st.sampled_from(["", *CLASSES[:2]]), max_size=12),
    st.integers(0, 2),
)
def test_a_selection_can_be_used_or_is_refused(tmp_path_factory, rows, made, unusable, corrections, min_class_size):
    """The splits in `made` are not in the dataset."""
    rows = [(0, *rows[0][1:]), (1, *rows[1][1:]), *rows[2:]]
    rows = [(label, "train" if split in made else split, *pixels) for label, split, *pixels in rows]
    unusable = tuple(index for index in sorted(unusable) if index < len(rows))
    if corrections is not None:
        known = CLASSES[: max(row[0] for row in rows) + 1]
        corrections = {
            index: label for index, label in corrections.items() if index < len(rows) and label in ("", *known)
        }
    folder = tmp_path_factory.getbasetemp()
    try:
        found = select(folder, rows, unusable, corrections, min_class_size=min_class_size)
    except DarkroomError as error:
        event(re.sub(r"'\w+'|\d+", "_", str(error))[:40])
        assert "\n" not in str(error)
        return
    event("usable")
    samples = found.samples
    for split in ("val", "test"):
        assert len(np.unique(samples.labels[samples.indices(split)])) >= 2
    assert set(samples.labels[samples.indices("train")].tolist()) == set(range(len(found.classes)))
    assert not set(unusable) & set(np.flatnonzero(samples.splits).tolist())
    removed = Counter(finding.id for finding in found.findings if finding.action == REMOVED)
    assert set(removed) == set(samples.ids[samples.splits == ""].tolist()) and set(removed.values()) <= {1}
    for split, given_rows in (("val", "val"), ("test", "test")):
        if split in {row[1] for row in rows}:  # nothing moves into a split of the dataset
            assert {rows[index][1] for index in samples.indices(split).tolist()} == {given_rows}


def test_a_split_without_images_is_refused_with_the_reasons(tmp_path: Path):
    rows = rows_of(train="ccccdddd", val="cd", test="cd")
    with pytest.raises(DarkroomError, match=r"split test .*no examples: removed 2 unusable of 2\."):
        select(tmp_path, rows, unusable=(10, 11))
    with pytest.raises(DarkroomError, match=r"split val .*no examples: removed 1 relabelled, 1 unusable of 2\."):
        select(tmp_path, rows, unusable=(8,), corrections={9: ""})
    assert len(select(tmp_path, rows).samples.indices("test")) == 2


def test_a_split_of_one_class_is_refused(tmp_path: Path):
    with pytest.raises(DarkroomError, match=r"split test .*only .*'dog': removed 1 unusable of 2\."):
        select(tmp_path, rows_of(train="ccccdddd", val="cd", test="cd"), unusable=(10,))
    with pytest.raises(DarkroomError, match=r"split val .*only .*'cat': removed 0 of 2\."):
        select(tmp_path, rows_of(train="ccccdddd", val="cc", test="cd"))
    with pytest.raises(DarkroomError, match=r"split test .*only .*'dog': removed 0 of 2\."):
        select(tmp_path, rows_of(train="ccccdddd", val="cd", test="cd"), corrections={10: "dog"})
    with pytest.raises(DarkroomError, match=r"split test .*only .*'dog': removed 1 rare of 2\..*min_class_size"):
        select(tmp_path, rows_of(train="ccccddddo", val="cd", test="od"), min_class_size=2)


def test_a_class_may_lack_validation_and_test_images(tmp_path: Path):
    found = select(tmp_path, rows_of(train="ccccddddoo", val="cd", test="cd"))
    assert found.classes == CLASSES and found.findings == []


def test_near_leaks_never_empty_the_validation_split(tmp_path: Path):
    rows = rows_of(train="cccccccccdddddddddd", val="cd", test="cd")
    rows[-4:-2] = [(label, "val", scene, 1) for label, _, scene, _ in rows[-2:]]
    with pytest.raises(
        DarkroomError, match=r"split val .*removed 2 near_leak of 2\..*preprocess\.clean\.near_leak_difference"
    ):
        select(tmp_path, rows)
    assert len(select(tmp_path, rows, near_leak_difference=0.0).samples.indices("val")) == 2


def near_rows(near: int, count: int, split: str) -> list[tuple]:
    """`near` of `count` cats in `split`, and none of the others, nearly equal a test image."""
    rows = rows_of(train="c" * 20 + "d" * 20, val="c" * 4 + "d" * 4, test="c" * 12 + "d" * 2)
    scenes = [scene for label, name, scene, _ in rows if name == "test" and label == 0]
    added = [(0, split, scenes[index] if index < near else 62 + index, 1) for index in range(count)]
    kept = [row for row in rows if (row[0], row[1]) != (0, split)]
    return kept + added


def test_a_rule_that_removes_a_large_fraction_is_refused(tmp_path: Path):
    few = select(tmp_path, near_rows(5, 20, "train"))
    assert [finding.rule for finding in few.findings] == ["near_leak"] * 5
    key = r"preprocess\.clean\.near_leak_difference = 0\.15"
    with pytest.raises(DarkroomError, match=rf"6 of 20 training examples of the class 'cat'.*25%.*{key}"):
        select(tmp_path, near_rows(6, 20, "train"))
    with pytest.raises(DarkroomError, match=rf"11 of 25 training examples .*25%.*{key}"):
        select(tmp_path, [row for row in near_rows(11, 15, "train") if row[1] != "train" or row[0] == 0 or row[2] < 30])
    with pytest.raises(DarkroomError, match=rf"6 of 10 validation examples .*25%.*{key}"):
        select(tmp_path, near_rows(6, 6, "val"))
    assert select(tmp_path, near_rows(11, 15, "train"), near_leak_difference=0.0).findings == []


def test_images_of_one_scene_are_kept_in_every_class(tmp_path: Path):
    """An inspection camera: a good part nearly equals a bad one, and each part is shown once."""
    rows = [(0, "train", scene, 0) for scene in range(40)] + [(1, "train", scene, 1) for scene in range(40)]
    found = select(tmp_path, rows)
    assert found.findings == [] and len(found.near_duplicates) == 40


def test_a_made_split_does_not_count_unusable_files(tmp_path: Path):
    rows = rows_of(train="c" * 10 + "d" * 10)
    for broken in ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (0, 2, 4, 6, 8)):
        samples = select(tmp_path, rows, unusable=broken).samples
        assert np.bincount(samples.labels[samples.indices("test")]).tolist() == [1, 2]
    with pytest.raises(DarkroomError, match="'cat' has 1 usable training example,"):
        select(tmp_path, rows, unusable=tuple(range(9)))


def test_corrections_are_listed_first_with_the_final_split(tmp_path: Path):
    rows = rows_of(train="c" * 10 + "d" * 10)
    plain = select(tmp_path, rows).samples
    in_val, in_test = plain.indices("val")[0].item(), plain.indices("test")[0].item()
    found = select(tmp_path, rows, unusable=(in_test,), corrections={in_val: "dog"})
    split = found.samples.splits[in_val]
    assert [(finding.id, finding.split, finding.rule, finding.action) for finding in found.findings] == [
        (f"{in_val}.png", split, "relabelled", "relabelled"),
        (f"{in_test}.png", "train", "unusable", "removed"),
    ]
    removed = select(tmp_path, rows, unusable=(in_val,), corrections={in_val: ""}).findings
    assert [(finding.split, finding.rule, finding.action) for finding in removed] == [
        ("train", "relabelled", "removed")
    ]


def test_newly_labelled_examples_are_never_held_out(tmp_path: Path):
    labelled = rows_of(train="cdo" * 20)
    unlabelled = [(-1, "unlabelled", scene, 0) for scene in range(60, 90)]
    given = {index: CLASSES[index % 3] for index in range(60, 90)}
    found = select(tmp_path, labelled + unlabelled, corrections=given)
    without = select(tmp_path, labelled)
    assert set(found.samples.splits[60:].tolist()) == {"train"}
    assert found.samples.splits[:60].tolist() == without.samples.splits.tolist()
    assert [one.rule for one in found.findings] == ["labelled"] * 30


def test_a_test_split_that_is_made_keeps_unclear_examples(tmp_path: Path):
    rows = rows_of(train="cdo" * 10)
    plain = select(tmp_path, rows).samples
    in_test, in_train = plain.indices("test")[0].item(), plain.indices("train")[0].item()
    lines = [f"{index}.png,,anna,2026-01-31T12:00:00Z\n" for index in (in_test, in_train)]
    (tmp_path / "labels.csv").write_text("".join(["id,label,by,at\n", *lines]))
    found = select(tmp_path, rows, relabel="auto")
    assert np.flatnonzero(found.samples.splits == "test").tolist() == plain.indices("test").tolist()
    assert [(one.id, one.split, one.rule, one.action) for one in found.findings] == sorted(
        [
            (f"{in_test}.png", "test", "unclear", "kept"),
            (f"{in_train}.png", "train", "unclear", "removed"),
        ],
        key=lambda row: int(row[0].removesuffix(".png")),
    )
