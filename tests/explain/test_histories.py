"""Which histories are explained."""

import numpy as np
import pytest
from scipy import sparse

from darkroom.core.arrays import Split
from darkroom.explain import histories


def test_users_who_have_had_all_items_are_left_out(monkeypatch: pytest.MonkeyPatch):
    had = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]])
    monkeypatch.setattr(histories.histories, "left_out", lambda *_: sparse.csr_array(had))
    test = Split(np.arange(6, dtype=np.int32).reshape(3, 2), np.array([0, 1, 2]), np.array(["a", "b", "c"]))
    given = np.full((3, 3), 1 / 3)
    kept, rows, found = histories.recommended(test, np.array([0, 1, 2]), given, "leave_out")
    assert (kept.ids.tolist(), rows.tolist(), kept.inputs.tolist()) == (["a", "c"], [0, 2], [[0, 1], [4, 5]])
    assert found.tolist() == [[0, 1 / 3, 1 / 3], [1 / 3] * 3] and given.min() > 0
    monkeypatch.setattr(histories.histories, "left_out", lambda *_: sparse.csr_array(had[[0, 2]]))
    assert histories.recommended(kept, np.array([0, 1]), given[:2], "leave_out")[0] is kept
