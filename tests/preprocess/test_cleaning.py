import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.preprocess import cleaning
from darkroom.preprocess.cleaning import KEPT, REMOVED, Finding, Scan, scan_pixels
from darkroom.preprocess.config import CleanConfig
from darkroom.preprocess.samples import Samples

CLASSES = ("shirt", "coat")
RULES = CleanConfig(
    constant=True, leak=True, near_leak_difference=0.0, conflict=True, duplicate=True, max_aspect=0.0, min_class_size=0
)


def make_images(kinds: list[int]) -> np.ndarray:
    """A 2 x 2 colour image for each kind. Images of one kind are equal, and those of kind 0 are constant."""
    return np.array([np.arange(12).reshape(2, 2, 3) * kind for kind in kinds], dtype=np.uint8).reshape(-1, 2, 2, 3)


def make(**splits: list[tuple[int, int]]) -> tuple[Samples, np.ndarray]:
    """Samples of the splits, each a list of (kind, label), and their images."""
    rows = [(name, number, *sample) for name, samples in splits.items() for number, sample in enumerate(samples)]
    ids = np.array([f"{name}/{number}" for name, number, *_ in rows], dtype=str)
    names = np.array([row[0] for row in rows], dtype=str)
    labels = np.array([row[3] for row in rows], dtype=np.int64)
    return Samples(ids, labels, names, np.full(len(rows), "")), make_images([row[2] for row in rows])


def find(
    samples: Samples,
    images: np.ndarray,
    undecodable: dict[int, str] | None = None,
    aspects: np.ndarray | None = None,
    **rules: object,
) -> dict[int, Finding]:
    """Findings by index, with some of the rules changed."""
    aspects = np.ones(len(samples)) if aspects is None else aspects
    changed = RULES.model_copy(update=rules)
    findings = cleaning.find_problems(samples, scan_pixels([images]), undecodable or {}, aspects, CLASSES, changed)
    for index, finding in findings.items():
        assert (finding.id, finding.split) == (samples.ids[index], samples.splits[index])
    return findings


def find_list(*arguments: object, **rules: object) -> list[Finding]:
    return list(find(*arguments, **rules).values())


def test_different_images_have_no_problem():
    assert find_list(*make(train=[(1, 0), (2, 0), (3, 1)], test=[(4, 0)])) == []


def test_each_rule_reports_image_and_reason():
    train = [(0, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 1), (3, 0), (4, 1), (2, 0)]
    findings = find_list(*make(train=train, test=[(9, 0), (1, 1)]))
    assert [(finding.id, finding.rule) for finding in findings] == [
        ("train/0", "constant"),
        ("train/1", "leak"),
        ("train/3", "duplicate"),
        ("train/4", "conflict"),
        ("train/5", "conflict"),
        ("train/6", "conflict"),
        ("train/8", "duplicate"),
    ]
    assert {(finding.split, finding.action) for finding in findings} == {("train", REMOVED)}
    keys = ["0 0 0", "test/1", "train/2", "train/5", "train/4", "train/5", "train/2"]
    assert all(key in finding.detail for key, finding in zip(keys, findings, strict=True))
    assert findings[3].detail.startswith("labelled shirt") and findings[3].detail.endswith("labelled coat")


def test_an_image_is_reported_once_for_the_first_rule():
    findings = find_list(*make(train=[(0, 0), (0, 1), (1, 0), (1, 1), (1, 1)], test=[(5, 0), (1, 0)]))
    assert [finding.rule for finding in findings] == ["constant", "constant", "leak", "leak", "leak"]


def test_each_rule_can_be_disabled():
    sample = make(train=[(0, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 1)], test=[(1, 0)])
    off = {"constant": False, "leak": False, "conflict": False, "duplicate": False}
    assert find_list(*sample, **off) == []
    for rule, count in (("constant", 1), ("leak", 1), ("conflict", 2), ("duplicate", 1)):
        assert [finding.rule for finding in find_list(*sample, **{**off, rule: True})] == [rule] * count


def test_test_images_are_reported_and_kept():
    findings = find_list(*make(train=[(1, 0), (2, 1)], test=[(3, 0), (3, 0), (0, 0)]))
    assert [(finding.id, finding.rule, finding.action) for finding in findings] == [
        ("test/1", "duplicate", KEPT),
        ("test/2", "constant", KEPT),
    ]


def test_leaks_from_training_into_validation_and_from_validation_into_test():
    findings = find_list(*make(train=[(1, 0), (2, 1)], val=[(1, 0), (3, 0)], test=[(3, 0)]))
    assert [(finding.id, finding.rule, finding.detail.split()[-1]) for finding in findings] == [
        ("train/0", "leak", "val/0"),
        ("val/1", "leak", "test/0"),
    ]


def test_undecodable_images_are_removed_from_every_split_and_match_nothing():
    sample = make(train=[(0, 0), (0, 1)], test=[(0, 0)])
    findings = find_list(*sample, undecodable={0: "truncated", 2: "empty"}, constant=False)
    assert findings == [
        Finding("train/0", "train", "unusable", "truncated", REMOVED),
        Finding("test/0", "test", "unusable", "empty", REMOVED),
    ]


def test_the_aspect_ratio_of_the_original_counts():
    sample = make(train=[(1, 0), (2, 1), (3, 0)])
    findings = find_list(*sample, aspects=np.array([4.0, 4.5, 1.0]), max_aspect=4.0)
    assert [(finding.id, finding.rule) for finding in findings] == [("train/1", "aspect")]
    assert "4.5" in findings[0].detail


def test_a_rare_class_is_removed_from_every_split_and_from_the_classes():
    samples, images = make(train=[(1, 0), (2, 1), (0, 0), (3, 2), (4, 2)], test=[(5, 0), (6, 1), (7, 2)])
    classes, rules = ("hat", "shirt", "coat"), RULES.model_copy(update={"min_class_size": 1})
    findings = cleaning.find_problems(samples, scan_pixels([images]), {1: "empty"}, np.ones(8), classes, rules)
    assert {index: (finding.id, finding.rule) for index, finding in findings.items()} == {
        1: ("train/1", "unusable"),
        2: ("train/2", "constant"),
        6: ("test/1", "rare"),
    }
    kept, remaining = cleaning.remove(samples, findings, classes)
    assert remaining == ("hat", "coat")
    assert kept.splits.tolist() == ["train", "", "", "train", "train", "test", "", "test"]
    assert kept.labels[kept.splits != ""].tolist() == [0, 1, 1, 0, 1]


def test_a_single_colour_is_constant_even_if_its_channels_differ():
    images = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    images[...] = (1, 2, 3)
    assert scan_pixels([images]).constant == {0: "1 2 3"}


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 12))
def test_a_scan_does_not_depend_on_the_blocks(kinds: list[int], size: int):
    images = make_images(kinds)
    scan = scan_pixels(images[start : start + size] for start in range(0, len(kinds), size))
    assert scan.first_equal.tolist() == [kinds.index(kind) for kind in kinds]
    assert list(scan.constant) == [index for index, kind in enumerate(kinds) if kind == 0]


def test_memory_per_image_is_small():
    count, random = 20_000, np.random.default_rng(0)
    samples = Samples(np.arange(count).astype(str), np.arange(count) % 2, np.full(count, "train"), np.full(count, ""))
    tracemalloc.start()
    scan = scan_pixels(random.integers(256, size=(1000, 4, 4, 1), dtype=np.uint8) for _ in range(count // 1000))
    findings = cleaning.find_problems(samples, scan, {}, np.ones(count), CLASSES, RULES)
    cleaning.remove(samples, findings, CLASSES)
    cleaning.unique_indices(samples, scan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert findings == {} and peak / count < 120  # bytes


def near_leaks(samples: Samples, scan: Scan, *pairs: tuple[int, int]) -> list[tuple[str, str]]:
    """Removed images and the reason, if the images at these pairs of indices differ by 1.5 %, 2.5 %, ..."""
    rows = [(*sorted(pair), 0.015 + number / 100, False) for number, pair in enumerate(pairs)]
    table = pd.DataFrame(rows, columns=["first", "second", "difference", "mirrored"])
    findings = cleaning.find_near_leaks(samples, scan, table)
    assert all((finding.rule, finding.action) == ("near_leak", REMOVED) for finding in findings.values())
    assert list(findings) == sorted(findings)
    assert [finding.id for finding in findings.values()] == samples.ids[list(findings)].tolist()
    words = [finding.detail.split() for finding in findings.values()]  # differs from <id> by <difference> % of ...
    return [(finding.id, f"{detail[2]} {detail[4]}") for finding, detail in zip(findings.values(), words, strict=True)]


def scanned(**splits: list[tuple[int, int]]) -> tuple[Samples, Scan]:
    samples, images = make(**splits)
    return samples, scan_pixels([images])


def test_near_leaks_are_removed_from_training_and_validation():
    sample = scanned(train=[(1, 0), (2, 0), (3, 0)], val=[(4, 0), (5, 0)], test=[(6, 0), (7, 0)])
    assert near_leaks(*sample, (0, 5), (3, 6), (1, 4)) == [
        ("train/0", "test/0 1.5"),
        ("train/1", "val/1 3.5"),
        ("val/0", "test/1 2.5"),
    ]


def test_pairs_within_a_split_are_not_leaks():
    sample = scanned(train=[(1, 0), (2, 0)], val=[(3, 0), (4, 0)], test=[(5, 0), (6, 0)])
    assert near_leaks(*sample, (0, 1), (2, 3), (4, 5)) == []


def test_an_image_near_to_a_removed_image_is_kept():
    sample = scanned(train=[(1, 0), (2, 0)], val=[(3, 0)], test=[(4, 0)])
    assert [name for name, _ in near_leaks(*sample, (0, 2), (2, 3))] == ["val/0"]


def test_equal_images_are_compared_once_and_leak_together():
    samples, scan = scanned(train=[(1, 0), (1, 0), (2, 0), (0, 0), (3, 0)], val=[(2, 0)], test=[(4, 0), (3, 1)])
    assert cleaning.unique_indices(samples, scan).tolist() == [0, 2, 4, 6]
    assert cleaning.unique_indices(samples.move(np.array([0, 4]), ""), scan).tolist() == [1, 2, 6, 7]
    assert near_leaks(samples, scan, (0, 6)) == [("train/0", "test/0 1.5"), ("train/1", "test/0 1.5")]
    assert [name for name, _ in near_leaks(samples, scan, (0, 2))] == ["train/0", "train/1"]  # train/2 equals val/0
    assert near_leaks(samples, scan, (0, 4)) == []  # train/4 equals test/1, which is of another class
    assert near_leaks(samples, scan, (0, 4), (4, 6)) == [("train/4", "test/0 2.5")]


def test_an_image_that_nearly_equals_one_of_another_class_is_no_leak():
    samples, scan = scanned(train=[(1, 0), (2, 1), (3, 1)], val=[(4, 1), (5, 0)], test=[(6, 1), (6, 0)])
    assert near_leaks(samples, scan, (0, 3), (2, 4)) == []
    assert near_leaks(samples, scan, (0, 5), (1, 5), (3, 5)) == [
        ("train/0", "test/1 1.5"),
        ("train/1", "test/0 2.5"),
        ("val/0", "test/0 3.5"),
    ]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["train", "val", "test"]), min_size=2, max_size=8), st.data())
def test_no_near_duplicates_remain_between_splits(splits: list[str], data: st.DataObject):
    order = sorted(splits, key=["train", "val", "test"].index)
    by_split = {name: [index for index, split in enumerate(order) if split == name] for name in dict.fromkeys(order)}
    samples, scan = scanned(**{name: [(1 + index, 0) for index in indices] for name, indices in by_split.items()})
    pair = st.lists(st.integers(0, len(order) - 1), min_size=2, max_size=2, unique=True)
    pairs = data.draw(st.lists(pair, max_size=8))
    names = samples.ids.tolist()
    removed = {name for name, _ in near_leaks(samples, scan, *pairs)}
    assert not any(name.startswith("test") for name in removed)
    assert all(order[one] == order[other] or removed & {names[one], names[other]} for one, other in pairs)
    if len(pairs) == 1 and order[pairs[0][0]] != order[pairs[0][1]]:
        assert len(removed) == 1


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=12),
    st.lists(st.integers(0, 4), max_size=3),
)
def test_problems_and_nothing_else_are_removed(train: list[tuple[int, int]], in_test: list[int]):
    samples, images = make(train=train, test=[(5, 0), *((kind, 0) for kind in in_test)])
    removed = {finding.id for finding in find_list(samples, images) if finding.action == REMOVED}
    left = [sample for sample, name in zip(train, samples.ids, strict=False) if name not in removed]
    clean = {(kind, label) for kind, label in train if kind and kind not in in_test and (kind, 1 - label) not in train}
    assert sorted(left) == sorted(clean)


def test_an_empty_class_is_an_error_with_the_reasons():
    samples, images = make(train=[(0, 1), (1, 1), (0, 1), (2, 0)], test=[(1, 1)])
    with pytest.raises(DarkroomError, match=r"'coat'.* 2 constant, 1 leak of 3\."):
        cleaning.remove(samples, find(samples, images), CLASSES)


def test_a_class_without_any_image_is_an_error():
    with pytest.raises(DarkroomError, match=r"'coat'.* 0 of 0\."):
        cleaning.remove(make(train=[(1, 0)])[0], {}, CLASSES)


def test_fewer_than_two_classes_are_an_error():
    samples, images = make(train=[(1, 0), (2, 1)])
    with pytest.raises(DarkroomError, match="0 of 2 classes"):
        cleaning.remove(samples, find(samples, images, min_class_size=2), CLASSES)


def test_too_many_undecodable_images_are_an_error():
    samples, _ = make(train=[(1, 0)] * 10)
    cleaning.check_decoded({0: "empty"}, samples, 0.1)
    with pytest.raises(
        DarkroomError, match=r"2 of 10 .*max_bad_fraction is 0\.1: train/0 \(empty\); train/7 \(odd\)\."
    ):
        cleaning.check_decoded({0: "empty", 7: "odd"}, samples, 0.1)
