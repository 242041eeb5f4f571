"""What users have had before an example."""

from pathlib import Path

import numpy as np

from darkroom.core import arrays
from darkroom.recommend import histories
from darkroom.recommend.ranking import SHOWN
from tests.histories import events, write


def test_seen_items_are_all_earlier_events_of_the_user(tmp_path: Path):
    found = events()
    manifest = write(tmp_path / "arrays", found, length=2)  # packed histories hold two events
    place = {name: number for number, name in enumerate(manifest.classes)}
    earlier: dict[str, list[int]] = {}
    for user, item, _ in sorted(found, key=lambda row: row[2]):
        earlier.setdefault(user, []).append(place[item])
    for split, last in (("val", 2), ("test", 1)):
        seen = histories.seen(tmp_path / "arrays", split).toarray()
        assert seen.dtype == bool
        for user, row in zip(histories.users(tmp_path / "arrays", split).tolist(), seen, strict=True):
            assert np.flatnonzero(row).tolist() == sorted(earlier[user][:-last])


def test_seen_items_may_be_kept(tmp_path: Path):
    write(tmp_path / "arrays")
    test = arrays.read_split(tmp_path / "arrays", "test")
    kept = histories.left_out(tmp_path / "arrays", "test", "keep")
    assert kept.shape == (len(test), 9) and kept.nnz == 0
    assert histories.left_out(tmp_path / "arrays", "test", "leave_out").nnz > 0


def test_the_items_of_users_come_from_all_of_their_examples(tmp_path: Path):
    write(tmp_path / "arrays", [("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("a", "z", 4), ("a", "y", 5)], length=1)
    names, items = histories.of_users(tmp_path / "arrays", "train")
    assert names.tolist() == ["a"] and items.toarray().tolist() == [[True, True, False]]


def test_contents_of_padded_histories():
    inputs = np.array([[1, 3, 3, 0], [0, 0, 0, 0]], np.int32)
    assert histories.contents(inputs, 3).toarray().tolist() == [[True, False, True], [False] * 3]
    with_labels = histories.contents(inputs, 3, np.array([1, 0])).toarray().tolist()
    assert with_labels == [[True] * 3, [True, False, False]]


def test_hits_are_counted_without_what_a_user_has_had(tmp_path: Path):
    write(tmp_path, events(items=30))
    test = arrays.read_split(tmp_path, "test")
    scores = np.random.default_rng(0).random((len(test), 30)).astype(np.float32)
    left_out = histories.seen(tmp_path, "test").toarray()
    better = (scores > scores[np.arange(len(test)), test.labels][:, None]) & ~left_out
    found = histories.hits(tmp_path, "test", lambda inputs: scores, "leave_out")
    assert found.tolist() == (better.sum(1) < SHOWN).tolist() and 0 < found.mean() < 1
