import pandas as pd
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.review import common, result
from darkroom.review.common import Common
from darkroom.review.result import Result
from darkroom.review.revision import Revision

SLICED = {"evaluate.slices": [result.GROUP]}


def side(name: str, **columns: list[str]) -> Result:
    """A result with these ids, labels and predictions."""
    table = pd.DataFrame(columns, dtype=object).assign(confidence=0.5)
    return Result(Revision(name, ""), {}, {}, table, pd.DataFrame(), {}, {})


def find(old: dict[str, list[str]], new: dict[str, list[str]]) -> Common:
    return common.find(side("old", **old), side("new", **new))


def test_the_same_examples_and_labels():
    found = find(
        {"id": ["1", "2"], "label": ["a", "b"], "predicted": ["a", "a"]},
        {"id": ["1", "2"], "label": ["a", "b"], "predicted": ["b", "b"]},
    )
    assert found.is_all and not found.renamed and found.groups is None and found.slices == []
    assert (found.old["predicted"].tolist(), found.new["predicted"].tolist()) == (["a", "a"], ["b", "b"])


def test_examples_of_one_side_alone_are_counted():
    found = find(
        {"id": ["0", "1", "3"], "label": ["a", "b", "a"], "predicted": ["a", "b", "b"]},
        {"id": ["1", "2", "3", "4"], "label": ["b", "b", "a", "a"], "predicted": ["a", "b", "a", "a"]},
    )
    assert (found.only_old, found.only_new, found.is_all) == (1, 2, False)
    assert found.old["id"].tolist() == found.new["id"].tolist() == ["1", "3"]
    assert found.old["predicted"].tolist() == ["b", "b"]


def test_a_renamed_class_is_one_class():
    found = find(
        {"id": list("12345"), "label": list("aabbb"), "predicted": list("abbba")},
        {"id": list("12345"), "label": list("xxbbb"), "predicted": list("xxbbb")},
    )
    assert found.renamed == {"a": "x"} and not found.relabelled.any() and found.is_all
    assert found.old["predicted"].tolist() == list("xbbbx")


def test_swapped_names_and_merged_classes_are_other_labels():
    swapped = find(
        {"id": list("12345"), "label": list("abccc"), "predicted": list("abccc")},
        {"id": list("12345"), "label": list("baccc"), "predicted": list("baccc")},
    )
    assert swapped.renamed == {} and swapped.relabelled.tolist() == [True, True, False, False, False]
    merged = find(
        {"id": list("12345"), "label": list("aabcc"), "predicted": list("aabcc")},
        {"id": list("12345"), "label": list("xxxcc"), "predicted": list("xxxcc")},
    )
    assert merged.renamed == {"a": "x"} and merged.relabelled.tolist() == [False, False, True, False, False]
    assert merged.old["label"].tolist() == list("xxxcc")


def test_the_new_labels_count():
    found = find(
        {"id": list("1234"), "label": list("abab"), "predicted": list("abab")},
        {"id": list("1234"), "label": list("abbb"), "predicted": list("abbb")},
    )
    assert found.labels.tolist() == list("abbb") and found.relabelled.tolist() == [False, False, True, False]
    assert not found.is_all


@pytest.mark.parametrize(
    ("ids", "labels", "fact"),
    [(["5", "6", "7"], ["a", "b", "c"], "in common"), (["1", "2", "3"], ["7", "7", "7"], "another label")],
)
def test_results_of_different_data_are_refused(ids: list[str], labels: list[str], fact: str):
    with pytest.raises(DarkroomError, match=fact):
        find(
            {"id": ["1", "2", "3"], "label": ["a", "b", "c"], "predicted": ["a", "b", "c"]},
            {"id": ids, "label": labels, "predicted": labels},
        )


def test_groups_and_slices_are_columns_of_the_new_side():
    old = {"id": ["1", "2"], "label": ["a", "b"], "predicted": ["a", "b"]}
    found = find(old, {**old, result.GROUP: ["g", ""], "camera": ["x", "y"]})
    assert found.slices == ["camera"] and found.groups is None
    both = {"id": list("123"), "label": list("abb"), "predicted": list("abb"), result.GROUP: ["g", "", "g"]}
    assert find(both, both).groups.tolist() == [0, 1, 0]
    sliced = Result(Revision("new", ""), {}, {}, side("", **both).predictions, pd.DataFrame(), SLICED, {})
    assert common.find(sliced, sliced).slices == [result.GROUP]
    single = {**both, result.GROUP: ["", "", "g"]}
    assert find(single, single).groups is None
