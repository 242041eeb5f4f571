"""Tests of bundles of rows of tables: which files of typical rows are refused."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from darkroom.bundle.tables import TableClassifier
from darkroom.columns import schema
from darkroom.core.errors import DarkroomError
from darkroom.reasons import shapley
from tests.tables import SCHEMA


def bundle(contents: bytes) -> TableClassifier:
    others = {schema.FILE: schema.to_json(SCHEMA).encode(), shapley.FILE: contents}
    return TableClassifier(SimpleNamespace(others=others))


def saved(rows: np.ndarray, save: Callable[..., Any] = np.save) -> bytes:
    file = io.BytesIO()
    save(file, rows)
    return file.getvalue()


ROWS = np.array([[20, 2, np.nan], [40, 3, 5]], np.float32)


def test_typical_rows_are_read():
    np.testing.assert_array_equal(bundle(saved(ROWS)).typical, ROWS)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"PK",
        b"PK\x03\x04 and more",
        saved(ROWS)[:-1],
        saved(ROWS, np.savez),
        saved(ROWS[:0]),
        saved(ROWS[:, :2]),
        saved(ROWS[0]),
        saved(np.float32(1)),
        saved(ROWS.astype(str)),
    ],
)
def test_other_files_of_typical_rows_are_reported_in_one_line(contents: bytes):
    with pytest.raises(DarkroomError, match=shapley.FILE) as error:
        bundle(contents).prepare()
    assert "\n" not in str(error.value)
