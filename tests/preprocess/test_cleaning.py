import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.preprocess.cleaning import Finding, distinct, inspect, leave_out, near_leaks, refuse_too_many, survey
from darkroom.preprocess.config import CleanConfig
from darkroom.preprocess.samples import Samples

CLASSES = ("shirt", "coat")
RULES = CleanConfig(
    constant=True, leak=True, near_leak=0.0, conflict=True, duplicate=True, max_aspect=0.0, min_class_size=0
)


def pictures(kinds: list[int]) -> np.ndarray:
    """A 2 x 2 colour picture for each kind: those of one kind are the same, and kind 0 is of one colour."""
    return np.array([np.arange(12).reshape(2, 2, 3) * kind for kind in kinds], dtype=np.uint8).reshape(-1, 2, 2, 3)


def make(**splits: list[tuple[int, int]]) -> tuple[Samples, np.ndarray]:
    """Samples of the splits, each a list of (kind, label), and their pictures."""
    rows = [(name, place, *sample) for name, samples in splits.items() for place, sample in enumerate(samples)]
    ids, names = (
        np.array(column, dtype=str)
        for column in ([f"{name}/{place}" for name, place, *_ in rows], [row[0] for row in rows])
    )
    return Samples(ids, np.array([row[3] for row in rows], dtype=np.int64), names, np.full(len(rows), "")), pictures(
        [row[2] for row in rows]
    )


def inspected(
    samples: Samples,
    images: np.ndarray,
    unusable: dict[int, str] | None = None,
    aspects: np.ndarray | None = None,
    **rules: object,
) -> dict:
    """What `inspect` finds, with some of the rules changed."""
    aspects = np.ones(len(samples)) if aspects is None else aspects
    return inspect(samples, survey([images]), unusable or {}, aspects, CLASSES, RULES.model_copy(update=rules))


def found(samples: Samples, images: np.ndarray, *arguments: object, **rules: object) -> list[Finding]:
    """The same without the places, once each is of the picture at its place."""
    findings = inspected(samples, images, *arguments, **rules)
    assert all(
        samples.ids[place] == finding.id and samples.splits[place] == finding.split
        for place, finding in findings.items()
    )
    return list(findings.values())


def test_nothing_is_wrong_with_different_pictures():
    assert found(*make(train=[(1, 0), (2, 0), (3, 1)], test=[(4, 0)])) == []


def test_each_rule_is_found_and_said():
    train = [(0, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 1), (3, 0), (4, 1), (2, 0)]
    assert found(*make(train=train, test=[(9, 0), (1, 1)])) == [
        Finding("train/0", "train", "constant", "every pixel is 0 0 0", "left out"),
        Finding("train/1", "train", "leak", "the same pixels as test/1", "left out"),
        Finding("train/3", "train", "duplicate", "the same pixels as train/2", "left out"),
        Finding(
            "train/4", "train", "conflict", "labelled shirt, but the same pixels as train/5, labelled coat", "left out"
        ),
        Finding(
            "train/5", "train", "conflict", "labelled coat, but the same pixels as train/4, labelled shirt", "left out"
        ),
        Finding(
            "train/6", "train", "conflict", "labelled shirt, but the same pixels as train/5, labelled coat", "left out"
        ),
        Finding("train/8", "train", "duplicate", "the same pixels as train/2", "left out"),
    ]


def test_each_picture_is_found_once_by_the_first_rule_that_it_breaks():
    findings = found(*make(train=[(0, 0), (0, 1), (1, 0), (1, 1), (1, 1)], test=[(5, 0), (1, 0)]))
    assert [finding.rule for finding in findings] == ["constant", "constant", "leak", "leak", "leak"]


def test_each_rule_can_be_switched_off():
    sample = make(train=[(0, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 1)], test=[(1, 0)])
    off = {"constant": False, "leak": False, "conflict": False, "duplicate": False}
    assert found(*sample, **off) == []
    for rule, count in (("constant", 1), ("leak", 1), ("conflict", 2), ("duplicate", 1)):
        assert [finding.rule for finding in found(*sample, **{**off, rule: True})] == [rule] * count


def test_the_test_set_is_reported_and_kept():
    findings = found(*make(train=[(1, 0), (2, 1)], test=[(3, 0), (3, 0), (0, 0)]))
    assert [(finding.id, finding.rule, finding.done) for finding in findings] == [
        ("test/1", "duplicate", "kept"),
        ("test/2", "constant", "kept"),
    ]


def test_validation_leaks_into_test_and_training_into_validation():
    findings = found(*make(train=[(1, 0), (2, 1)], val=[(1, 0), (3, 0)], test=[(3, 0)]))
    assert [(finding.id, finding.detail) for finding in findings] == [
        ("train/0", "the same pixels as val/0"),
        ("val/1", "the same pixels as test/0"),
    ]


def test_what_cannot_be_decoded_is_left_out_everywhere_and_matches_nothing():
    findings = found(
        *make(train=[(0, 0), (0, 1)], test=[(0, 0)]), unusable={0: "it is truncated", 2: "it is empty"}, constant=False
    )
    assert [(finding.id, finding.rule, finding.detail, finding.done) for finding in findings] == [
        ("train/0", "unusable", "it is truncated", "left out"),
        ("test/0", "unusable", "it is empty", "left out"),
    ]


def test_long_pictures_are_found_by_their_original_sides():
    sample = make(train=[(1, 0), (2, 1), (3, 0)])
    findings = found(*sample, aspects=np.array([4.0, 4.5, 1.0]), max_aspect=4.0)
    assert [(finding.id, finding.detail) for finding in findings] == [("train/1", "one side is 4.5 times the other")]


def test_a_rare_class_goes_from_every_split_and_from_the_classes():
    samples, images = make(train=[(1, 0), (2, 1), (0, 0), (3, 2), (4, 2)], test=[(5, 0), (6, 1), (7, 2)])
    classes, rules = ("hat", "shirt", "coat"), RULES.model_copy(update={"min_class_size": 1, "constant": True})
    findings = inspect(samples, survey([images]), {1: "it is empty"}, np.ones(8), classes, rules)
    assert [(finding.id, finding.rule) for finding in findings.values()] == [
        ("train/1", "unusable"),
        ("train/2", "constant"),
        ("test/1", "rare"),
    ]
    assert list(findings) == [1, 2, 6]
    kept, remaining = leave_out(samples, findings, classes)
    assert remaining == ("hat", "coat")
    assert kept.splits.tolist() == ["train", "", "", "train", "train", "test", "", "test"]
    assert kept.labels[kept.splits != ""].tolist() == [0, 1, 1, 0, 1]


def test_one_colour_is_constant_though_its_channels_differ():
    images = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    images[...] = (1, 2, 3)
    assert survey([images]).constant == {0: "1 2 3"}


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 12))
def test_a_survey_does_not_depend_on_the_blocks(kinds, size):
    images = pictures(kinds)
    seen = survey(images[start : start + size] for start in range(0, len(kinds), size))
    assert seen.firsts.tolist() == [kinds.index(kind) for kind in kinds]
    assert list(seen.constant) == [place for place, kind in enumerate(kinds) if kind == 0]


def test_a_picture_takes_few_bytes():
    count, random = 20_000, np.random.default_rng(0)
    samples = Samples(np.arange(count).astype(str), np.arange(count) % 2, np.full(count, "train"), np.full(count, ""))
    tracemalloc.start()
    seen = survey(random.integers(256, size=(1000, 4, 4, 1), dtype=np.uint8) for _ in range(count // 1000))
    findings = inspect(samples, seen, {}, np.ones(count), CLASSES, RULES)
    leave_out(samples, findings, CLASSES), distinct(samples, seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert findings == {} and peak / count < 120


def leaks(sample: tuple[Samples, np.ndarray], *pairs: tuple[int, int]) -> list[tuple[str, str]]:
    """Who is left out, and why, where the pictures at these pairs of places differ by 1.5, 2.5, ... grey levels."""
    samples, images = sample
    table = pd.DataFrame(
        [(*sorted(pair), 1.5 + number) for number, pair in enumerate(pairs)], columns=["first", "second", "difference"]
    )
    findings = near_leaks(samples, survey([images]), table)
    assert all(finding.rule == "near_leak" and finding.done == "left out" for finding in findings.values())
    assert (
        list(findings) == sorted(findings)
        and [finding.id for finding in findings.values()] == samples.ids[list(findings)].tolist()
    )
    return [(finding.id, finding.detail) for finding in findings.values()]


def test_training_near_to_validation_or_test_and_validation_near_to_test_are_left_out():
    sample = make(train=[(1, 0), (2, 0), (3, 0)], val=[(4, 0), (5, 0)], test=[(6, 0), (7, 0)])
    assert leaks(sample, (0, 5), (3, 6), (1, 4)) == [
        ("train/0", "differs from test/0 by 1.50 grey levels"),
        ("train/1", "differs from val/1 by 3.50 grey levels"),
        ("val/0", "differs from test/1 by 2.50 grey levels"),
    ]


def test_pairs_inside_a_split_are_no_leaks():
    assert (
        leaks(make(train=[(1, 0), (2, 0)], val=[(3, 0), (4, 0)], test=[(5, 0), (6, 0)]), (0, 1), (2, 3), (4, 5)) == []
    )


def test_what_is_near_to_a_picture_that_is_itself_left_out_stays():
    sample = make(train=[(1, 0), (2, 0)], val=[(3, 0)], test=[(4, 0)])
    assert [name for name, _ in leaks(sample, (0, 2), (2, 3))] == ["val/0"]


def test_pictures_with_the_same_pixels_are_compared_once_and_leak_together():
    sample = make(train=[(1, 0), (1, 0), (2, 0), (0, 0), (3, 0)], val=[(2, 0)], test=[(4, 0), (3, 1)])
    samples, images = sample
    seen = survey([images])
    assert distinct(samples, seen).tolist() == [0, 2, 4, 6]
    assert distinct(samples.moved(np.array([0, 4]), ""), seen).tolist() == [1, 2, 6, 7]
    assert leaks(sample, (0, 6)) == [
        ("train/0", "differs from test/0 by 1.50 grey levels"),
        ("train/1", "differs from test/0 by 1.50 grey levels"),
    ]
    assert [name for name, _ in leaks(sample, (0, 2))] == ["train/0", "train/1"]  # near to the copy in validation
    assert leaks(sample, (0, 4)) == [(f"train/{place}", "differs from test/1 by 1.50 grey levels") for place in (0, 1)]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["train", "val", "test"]), min_size=2, max_size=8), st.data())
def test_no_near_duplicates_remain_between_splits_and_the_test_set_stays(splits, data):
    order = sorted(splits, key=["train", "val", "test"].index)
    sample = make(
        **{
            name: [(1 + place, 0) for place, split in enumerate(order) if split == name]
            for name in dict.fromkeys(order)
        }
    )
    pairs = data.draw(
        st.lists(st.lists(st.integers(0, len(order) - 1), min_size=2, max_size=2, unique=True), max_size=8)
    )
    names = sample[0].ids.tolist()
    gone = {name for name, _ in leaks(sample, *pairs)}
    assert not any(name.startswith("test") for name in gone)
    assert all(order[one] == order[other] or gone & {names[one], names[other]} for one, other in pairs)
    if len(pairs) == 1 and order[pairs[0][0]] != order[pairs[0][1]]:
        assert len(gone) == 1


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=12),
    st.lists(st.integers(0, 4), max_size=3),
)
def test_what_is_left_is_clean_and_nothing_else_is_gone(train, in_test):
    samples, images = make(train=train, test=[(5, 0), *((kind, 0) for kind in in_test)])
    gone = {finding.id for finding in found(samples, images) if finding.done == "left out"}
    left = [sample for sample, name in zip(train, samples.ids, strict=False) if name not in gone]
    right = {(kind, label) for kind, label in train if kind and kind not in in_test and (kind, 1 - label) not in train}
    assert sorted(left) == sorted(right)


def test_a_class_left_empty_is_named_with_the_reasons():
    samples, images = make(train=[(0, 1), (1, 1), (0, 1), (2, 0)], test=[(1, 1)])
    with pytest.raises(
        DarkroomError,
        match=r"'coat' has no training picture left: it had 3, of which were left out: 2 constant, 1 leak;",
    ):
        leave_out(samples, inspected(samples, images), CLASSES)


def test_a_class_without_any_picture_is_named():
    with pytest.raises(DarkroomError, match=r"'coat' has no training picture left: it had 0"):
        leave_out(make(train=[(1, 0)])[0], {}, CLASSES)


def test_too_few_classes_are_refused():
    samples, images = make(train=[(1, 0), (2, 1)])
    with pytest.raises(DarkroomError, match="Fewer than two classes"):
        leave_out(samples, inspected(samples, images, min_class_size=2), CLASSES)


def test_too_many_unusable_pictures_stop_the_run():
    samples, _ = make(train=[(1, 0)] * 10)
    refuse_too_many({0: "it is empty"}, samples, 0.1)
    with pytest.raises(
        DarkroomError,
        match=r"2 of 10 pictures .* = 0.1 allows: train/0 \(it is empty\); train/7 \(it is no picture\)\. Repair",
    ):
        refuse_too_many({0: "it is empty", 7: "it is no picture"}, samples, 0.1)
