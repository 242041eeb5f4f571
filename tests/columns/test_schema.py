import json
import math

import numpy as np
import pytest

from darkroom.columns import schema
from darkroom.columns.schema import Unusable
from darkroom.core.errors import DarkroomError
from tests.tables import AGE, JOB, SCHEMA, SINCE


def test_a_row_becomes_numbers_and_indices():
    row, remarks = SCHEMA.row({"age": "33", "job": " nurse", "since": "1970-01-11"})
    assert row.dtype == np.float32 and row.tolist() == [33, 3, 10]
    assert not any(vars(remarks).values())


def test_what_is_odd_about_a_row():
    row, remarks = SCHEMA.row({"age": 99, "job": "pilot", "shoe": 1, "default": 1})
    assert row[:2].tolist() == [99, schema.UNKNOWN] and math.isnan(row[2])
    assert vars(remarks) == {"missing": ("since",), "unknown": ("job",), "outside": ("age",), "ignored": ("shoe",)}


def test_missing_values_have_a_place_of_their_own():
    row, remarks = SCHEMA.row({"age": "unknown", "job": None})
    assert math.isnan(row[0]) and row[1] == schema.MISSING and remarks.missing == ("age", "job", "since")


@pytest.mark.parametrize(
    ("given", "named"), [({"age": "old"}, "age"), ({"job": ["x"]}, "job"), ({"since": 5}, "since")]
)
def test_a_value_that_fits_no_column_is_refused(given: dict, named: str):
    with pytest.raises(Unusable, match=named):
        SCHEMA.row(given)


def test_a_row_without_any_column_is_refused():
    with pytest.raises(Unusable, match="age, job, since"):
        SCHEMA.row({"default": 1, "other": 2})


def test_values_are_written_as_they_were_given():
    assert [AGE.text(33.5), AGE.text(math.nan), JOB.text(2), JOB.text(0), SINCE.text(10)] == [
        "33.5",
        "",
        "clerk",
        "",
        "1970-01-11",
    ]
    rows = np.array([[1, 2, 0], [np.nan, 3, 0], [1, 1, 0]], np.float32)
    assert list(schema.texts(SCHEMA, rows, "age")) == ["1", "", "1"]


def test_the_shape_holds_the_kinds_of_categories():
    assert SCHEMA.shape == (0, 4, 0)


def test_the_file_is_read_back():
    assert schema.parse(schema.to_json(SCHEMA)) == SCHEMA


@pytest.mark.parametrize(
    "change", [{"columns": []}, {"columns": [{"name": "a", "kind": "x"}]}, {"target": None, "positive": 0}]
)
def test_a_damaged_file_is_reported(change: dict):
    given = json.loads(schema.to_json(SCHEMA)) | change
    if "target" in change:
        del given["columns"]
    with pytest.raises(DarkroomError, match=r"columns\.json"):
        schema.parse(json.dumps(given))
