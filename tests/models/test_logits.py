from pathlib import Path

import numpy as np
import pytest

from darkroom.models import logits
from darkroom.models.logits import by_rows


def test_a_large_table_is_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logits, "IN_MEMORY", 11)
    table, values = logits.empty((4, 3)), np.arange(12, dtype=np.float32).reshape(4, 3)
    assert isinstance(table.base, np.memmap) and not isinstance(logits.empty((11, 1)).base, np.memmap)
    for rows in (slice(0, 2), np.array([3, 2])):
        table[rows] = values[rows]
        logits.release(table[1:])
    np.testing.assert_array_equal(table, values)
    assert table.dtype == np.float32 and not list(tmp_path.iterdir())


def test_what_is_said_of_rows_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch):
    table, labels = np.random.default_rng(0).normal(size=(10, 3)), np.arange(10)
    sizes: list[int] = []

    def of(block: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(block))
        return block.max(1), block * own[:, None]

    for block, expected in ((1, [1] * 10), (12, [4, 4, 2]), (100, [10])):
        monkeypatch.setattr(logits, "BLOCK", block)
        sizes.clear()
        largest, products = by_rows(of, table, labels)
        assert sizes == expected
        np.testing.assert_array_equal(largest, table.max(1))
        np.testing.assert_array_equal(products, table * labels[:, None])


def test_no_rows_are_one_empty_block():
    assert by_rows(lambda block: block.max(1), np.empty((0, 3))).shape == (0,)
