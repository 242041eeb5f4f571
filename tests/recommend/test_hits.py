"""Hits among the first items, which commands measure where they measure accuracy of classifiers."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.core import arrays
from darkroom.recommend import histories
from darkroom.recommend.hits import hits
from darkroom.recommend.ranking import SHOWN
from tests.histories import events, make, write


def test_what_a_user_has_had_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path)
    write(tmp_path / "data/arrays", events(items=30))
    monkeypatch.chdir(tmp_path)
    test = arrays.read_split("data/arrays", "test")
    scores = np.random.default_rng(0).random((len(test), 30)).astype(np.float32)
    left_out = histories.seen("data/arrays", "test").toarray()
    better = (scores > scores[np.arange(len(test)), test.labels][:, None]) & ~left_out
    found = hits("data/arrays", "test", lambda inputs: scores, "leave_out")
    assert found.tolist() == (better.sum(1) < SHOWN).tolist() and 0 < found.mean() < 1
    assert hits("data/arrays", "test", lambda inputs: scores, "keep").sum() <= found.sum()
