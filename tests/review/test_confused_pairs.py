from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darkroom.review import compare, confused_pairs, page, result, revision


def changes(labels: str, old: str, new: str) -> list[list]:
    found = confused_pairs.changes(*(np.array(list(names)) for names in (labels, old, new)))
    assert list(found.columns) == ["label", "predicted", "old", "new"]
    return found.to_numpy().tolist()


def test_the_largest_changes_come_first_and_ties_by_name():
    assert changes("aaabbc", "abcbbc", "bbbaac") == [["a", "b", 1, 3], ["b", "a", 0, 2], ["a", "c", 1, 0]]
    assert changes("cba", "bab", "cba") == [["a", "b", 1, 0], ["b", "a", 1, 0], ["c", "b", 1, 0]]


def test_the_review_shows_them_with_the_difference(project: Path):
    found = compare.compare(*(result.read(revision.find(name)) for name in ("weak", "strong")))
    assert "| coat → shirt | 50 | 20 | -30 |" in page.markdown(found)
    assert compare.as_json(found)["confused_pairs"][0] == {"label": "coat", "predicted": "shirt", "old": 50, "new": 20}


def test_pairs_that_are_as_frequent_as_before_are_left_out():
    assert changes("aab", "bab", "abb") == []
    assert changes("ab", "ab", "ab") == []


@given(st.lists(st.tuples(*3 * [st.sampled_from("abc")]), min_size=1))
def test_the_counts_add_up_to_the_change_of_all_mistakes(rows: list[tuple[str, str, str]]):
    labels, old, new = (np.array(column) for column in zip(*rows, strict=True))
    found = confused_pairs.changes(labels, old, new)
    assert (found["new"] - found["old"]).sum() == (new != labels).sum() - (old != labels).sum()
    assert (found["label"] != found["predicted"]).all()
