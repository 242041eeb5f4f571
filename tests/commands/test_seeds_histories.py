"""What `darkroom.seeds` measures of recommendations."""

from pathlib import Path

import numpy as np
import pytest

from darkroom import seeds
from darkroom.core import arrays
from darkroom.recommend import histories, ranking
from tests.histories import make


def test_hits_are_counted_without_what_a_user_has_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ranking, "SHOWN", 2)
    test = arrays.read_split("data/arrays", "test")
    scores = np.random.default_rng(0).random((len(test), 9)).astype(np.float32)
    left_out = histories.seen("data/arrays", "test").toarray()
    better = (scores > scores[np.arange(len(test)), test.labels][:, None]) & ~left_out
    found = seeds._hit_rate(lambda inputs: scores, test)
    assert found == (better.sum(1) < 2).mean() and 0 < found < 1
