import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.arrays import TEXT
from darkroom.core.errors import DarkroomError
from darkroom.evaluate import slices
from darkroom.evaluate.slices import MAX_VALUES, OTHERS
from darkroom.statistics.intervals import fraction_interval, wilson


def texts(*values: object) -> np.ndarray:
    return np.array([str(value) for value in values], dtype=TEXT)


def test_one_row_per_value_with_wilsons_interval():
    sliced = slices.values({"site": texts("b", "a", "b", "", "b")}, ["site"])
    table = slices.table(sliced, np.array([True, True, False, False, True]), None)
    assert table.columns.tolist() == ["column", "value", "examples", "accuracy", "low", "high"]
    assert table.values.tolist() == [
        ["site", "a", 1, 1.0, *wilson(1, 1)],
        ["site", "b", 3, pytest.approx(2 / 3), *wilson(2, 3)],
    ]


def test_intervals_know_the_groups():
    correct, groups = np.arange(40) % 4 > 0, np.repeat(np.arange(8), 5).astype(str)
    table = slices.table(slices.values({"site": texts(*"ab" * 20)}, ["site"]), correct, groups)
    assert table[["low", "high"]].to_numpy()[0] == pytest.approx(fraction_interval(correct[::2], groups[::2]))


def test_many_numbers_are_put_into_quarters():
    ages = texts(*range(19, -1, -1), "")
    found = slices.values({"age": ages}, ["age"])
    table = slices.table(found, np.ones(21, bool), None)
    assert table["value"].tolist() == ["0 to 4", "5 to 9", "10 to 14", "15 to 19"]
    assert table["examples"].tolist() == [5, 5, 5, 5]
    assert found["age"][[0, -1]].tolist() == ["15 to 19", ""]


def test_few_numbers_and_groups_are_kept_and_numbers_are_in_order():
    columns = {"scale": texts(10, 9, 2.5, 9), "group": texts(*range(20))}
    assert slices.values(columns, ["group"])["group"].tolist() == columns["group"].tolist()
    found = slices.table(slices.values(columns, ["scale"]), np.ones(4, bool), None)
    assert found["value"].tolist() == ["2.5", "9", "10"]


def test_equal_quartiles_make_fewer_slices():
    found = slices.values({"x": texts(*[0] * 90, *range(1, 11))}, ["x"])["x"]
    assert sorted(set(found.tolist())) == ["0", "1 to 10"]


def test_the_rarest_values_are_merged():
    names = [f"v{number:03}" for number in range(60) for _ in range(1 + (number < 49))]
    table = slices.table(slices.values({"site": texts(*names)}, ["site"]), np.ones(len(names), bool), None)
    assert len(table) == MAX_VALUES
    assert table.iloc[[0, -1]][["value", "examples"]].values.tolist() == [["v000", 2], [OTHERS, 11]]


def test_the_table_has_its_columns_without_slices():
    assert slices.table({}, np.ones(3, bool), None).columns[0] == "column"


def test_predictions_keep_the_group_as_it_is():
    columns = {"group": texts(*range(100)), "site": texts(*"ab" * 50)}
    tracked = slices.tracked(columns, slices.values(columns, ["site", "group"]))
    assert list(tracked) == ["group", "site"]
    assert tracked["group"].tolist() == columns["group"].tolist()
    assert slices.tracked({}, {}) == {}


@pytest.mark.parametrize(
    ("known", "facts"),
    [
        (["group", "site"], ["'sight'", "'group', 'site'", "did you mean site?"]),
        (["age"], ["'sight'", "'age'", "evaluate.slices to []"]),
        ([], ["'sight'", "manifest", "evaluate.slices to []"]),
    ],
)
def test_an_unknown_column_is_one_line_that_lists_the_known_ones(known: list[str], facts: list[str]):
    with pytest.raises(DarkroomError) as raised:
        slices.values({name: texts("a") for name in known}, ["sight"])
    assert [fact for fact in facts if fact not in str(raised.value)] == []
    assert len(str(raised.value).splitlines()) == 1


@given(st.lists(st.one_of(st.text("ab ", max_size=3), st.floats(width=16).map(str)), min_size=1, max_size=200))
def test_slices_divide_the_examples_that_have_a_value(given_values: list[str]):
    column = np.array(given_values, dtype=object)
    table = slices.table(slices.values({"x": column}, ["x"]), np.ones(len(column), bool), None)
    assert table["examples"].sum() == (column != "").sum()
    assert len(table) <= MAX_VALUES and table["value"].is_unique
