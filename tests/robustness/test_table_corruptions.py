import numpy as np
import pytest

from darkroom.robustness import table_corruptions
from darkroom.robustness.table_corruptions import CORRUPTIONS, SEVERITIES, STRENGTHS
from tests.tables import SCHEMA

RANDOM = np.random.default_rng(0)
ROWS = np.stack(
    [RANDOM.normal(40, 10, 500), RANDOM.integers(0, 4, 500), np.where(RANDOM.random(500) < 0.1, np.nan, 10)], 1
).astype(np.float32)


def corrupted(name: str, severity: int, seed: int = 0) -> np.ndarray:
    return table_corruptions.corrupt((ROWS, SCHEMA), name, severity, seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_rows_stay_rows_and_categories_stay_categories(name: str):
    for severity in SEVERITIES:
        found = corrupted(name, severity)
        assert found.shape == ROWS.shape and found.dtype == np.float32
        assert set(found[:, 1]) <= {0, 1, 2, 3} and not np.isinf(found).any()
    assert np.array_equal(found, corrupted(name, 5), equal_nan=True)
    assert set(STRENGTHS) == set(CORRUPTIONS)


def test_corruptions_of_columns_that_are_not_there_are_left_out():
    assert table_corruptions.applicable((0, 4)) == list(CORRUPTIONS)
    assert set(CORRUPTIONS) - set(table_corruptions.applicable((0, 0))) == {"unknown_categories"}
    assert table_corruptions.applicable((4, 3)) == [
        *("missing_values", "missing_columns", "unknown_categories", "swapped_values")
    ]


@pytest.mark.parametrize("name", ["missing_values", "unknown_categories", "noise"])
def test_a_higher_severity_changes_the_same_values_and_more(name: str):
    low, high = ((corrupted(name, severity) != ROWS) & ~np.isnan(ROWS) for severity in (1, 5))
    assert low.sum() <= high.sum() and not (low & ~high).any()


def test_the_fraction_of_missing_values():
    found = corrupted("missing_values", 5)
    assert np.isnan(found[:, 0]).mean() == pytest.approx(0.5, abs=0.07)


def test_whole_columns_are_missing():
    found = corrupted("missing_columns", 1)
    gone = np.isnan(found).all(0) | (found == 0).all(0)
    assert gone.sum() == 1


def test_swapped_values_come_from_the_same_column():
    found = corrupted("swapped_values", 5)
    assert set(found[:, 0]) <= set(ROWS[:, 0]) and (found[:, 0] != ROWS[:, 0]).mean() == pytest.approx(0.5, abs=0.07)
