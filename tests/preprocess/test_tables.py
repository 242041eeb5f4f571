from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from darkroom.columns import schema
from darkroom.columns.schema import Column
from darkroom.core import arrays, params
from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.datasets import profiles
from darkroom.datasets.table_folder import Found
from darkroom.preprocess import selection, table_report, tables
from darkroom.preprocess.config import PreprocessConfig
from tests.tables import JOB, in_project

SETTINGS = params.load(Path(__file__).parents[2] / "params.yaml", preprocess=PreprocessConfig)


def packed(rows: list[dict], **described: object) -> SimpleNamespace:
    """The arrays of a table in the working directory, by split, and their columns."""
    in_project(rows, **described)
    with tables.Tables("data/raw", SETTINGS) as examples:
        selected = selection.select(examples, SETTINGS, 0)
        manifest = examples.write("data/arrays", selected.samples, selected.classes)
    splits = {name: arrays.read_split("data/arrays", name) for name in manifest.counts}
    described = schema.parse(Path("data/arrays", schema.FILE).read_bytes())
    return SimpleNamespace(manifest=manifest, schema=described, notices=examples.notices, **splits)


def rows(n: int = 200) -> list[dict]:
    random = np.random.default_rng(0)
    return [
        {"x": f"{random.normal():.6f}", "c": "ab"[number % 2], "t": str(number), "y": str(int(random.random() < 0.3))}
        for number in range(n)
    ]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_rows_are_packed_as_they_are():
    found = packed(rows())
    assert found.manifest.kind == "table" and found.manifest.shape == found.schema.shape == (0, 4, 0)
    given = rows()
    for split in (found.train, found.val, found.test):
        for name, values in zip(split.ids.tolist(), split.inputs, strict=True):
            row = given[int(name.partition("/")[2]) - 1]
            assert values.tolist() == [np.float32(row["x"]), 2 + "ab".index(row["c"]), float(row["t"])]
    assert len(found.test) == 40 and found.test.labels.mean() == pytest.approx(0.3, abs=0.1)


def test_categories_and_ranges_are_those_of_the_training_rows():
    given = rows()
    for number, row in enumerate(given):
        row["split"] = ("train", "val", "test")[min(2, number // 80)]
        if row["split"] == "test":
            row |= {"c": "new", "x": "99"}
    found = packed(given)
    x, c, t = found.schema.columns
    assert c.categories == ("a", "b") and x.high < 10 and (t.low, t.high) == (0, 79)
    assert (found.test.inputs[:, 1] == schema.UNKNOWN).all() and (found.test.inputs[:, 0] == 99).all()


def test_changing_the_test_rows_changes_nothing_of_what_is_fitted():
    given = [{**row, "split": "test" if number > 150 else "train"} for number, row in enumerate(rows())]
    before = packed(given).schema
    changed = [{**row, "x": "1e9", "c": "z"} if row["split"] == "test" else row for row in given]
    assert packed(changed).schema == before


def test_rare_categories_are_unknown():
    given = rows()
    for number in range(tables.MIN_CATEGORY - 1):
        given[number]["c"] = "rare"
    found = packed(given)
    assert found.schema.columns[1].categories == ("a", "b") and (found.train.inputs[:, 1] != 0).all()


def test_the_latest_rows_are_held_out_by_time():
    found = packed(rows(), time="t")
    assert found.schema.names == ["x", "c"]  # the time is not an input
    number = {
        split: [int(one.partition("/")[2]) for one in getattr(found, split).ids.tolist()]
        for split in ("train", "val", "test")
    }
    assert max(number["train"]) < min(number["val"]) and max(number["val"]) < min(number["test"])
    assert len(number["test"]) == 40 and len(number["val"]) == 16


def test_rows_of_one_time_stay_together():
    given = np.full(10, "train", "<U10")
    found = tables.by_time(given, np.repeat([1, 2, 3, 4, 5], 2), 0.3, 0.25)
    assert found.tolist() == ["train"] * 4 + ["val"] * 2 + ["test"] * 4


def test_a_single_time_cannot_be_split():
    with pytest.raises(DarkroomError, match="split by time"):
        tables.by_time(np.full(10, "train", "<U10"), np.ones(10), 0.2, 0.1)


def test_rows_of_a_group_stay_in_one_split():
    given = [{**row, "g": str(number // 10)} for number, row in enumerate(rows())]
    found = packed(given, group="g")
    of = {
        name: {given[int(one.partition("/")[2]) - 1]["g"] for one in getattr(found, name).ids.tolist()}
        for name in ("train", "val", "test")
    }
    assert not of["train"] & of["test"] and not of["train"] & of["val"] and "g" not in found.schema.names


def test_a_group_is_in_the_split_of_its_latest_row():
    given = [{**row, "g": str(number % 180)} for number, row in enumerate(rows())]  # the first 20 groups come again
    found = packed(given, group="g", time="t")
    numbers = {
        name: np.array([int(one.partition("/")[2]) - 1 for one in getattr(found, name).ids.tolist()])
        for name in ("train", "val", "test")
    }
    of = {name: set((own % 180).tolist()) for name, own in numbers.items()}
    assert not of["train"] & of["test"] and not of["train"] & of["val"] and not of["val"] & of["test"]
    assert set(range(20)) <= of["test"] and numbers["train"].max() < numbers["test"].max()


def test_a_few_copies_are_removed_from_training():
    given = [{**row, "t": "0"} for row in rows(300)]
    found = packed([*given, given[0]])
    assert sum(found.manifest.counts[name] for name in ("train", "val", "test")) == 300


def test_rows_that_are_equal_by_chance_are_kept():
    given = [{"x": str(number % 7), "c": "ab"[number % 2], "y": str(number % 3 // 2)} for number in range(200)]
    found = packed(given)
    assert sum(found.manifest.counts.values()) == 200 and len(found.notices) == 1


def test_rows_without_a_label_are_unlabelled():
    given = rows()
    given[3]["y"] = ""
    found = packed(given)
    assert found.manifest.counts["unlabelled"] == 1 and found.unlabelled.inputs[0, 2] == 3


def test_ignored_columns_can_be_slices_but_are_no_inputs():
    packed(rows(), ignore=["c"])
    assert set(arrays.read_columns("data/arrays", "test")["c"]) == {"a", "b"}


def split(inputs: np.ndarray, labels: np.ndarray) -> Split:
    return Split(inputs.astype(np.float32), labels, np.arange(len(labels)).astype(str))


def test_a_column_that_leaks_the_target_is_found_and_noise_is_not():
    random = np.random.default_rng(0)
    parts = {}
    for name, n in (("train", 2000), ("val", 300), ("test", 500)):
        labels = (random.random(n) < 0.2).astype(int)
        missing = np.where(random.random(n) < 0.2, np.nan, random.normal(size=n))
        parts[name] = split(np.stack([labels * 5 + random.normal(size=n) * 0.1, missing, labels + 2], 1), labels)
    number = Column("x", "number")
    assert table_report.alone(number, parts, 0) > 0.999
    assert table_report.alone(number, parts, 1) < 0.6
    assert table_report.alone(JOB, parts, 2) == 1


@pytest.mark.parametrize(
    ("changes", "values", "said"),
    [
        ({}, [1, 2], []),
        ({}, [1, 1], ["constant"]),
        ({"numbers_rows": True}, [1, 2], ["looks like an id"]),
        ({"infinite": 2}, [1, np.nan], ["2 infinite values count as missing"]),
    ],
)
def test_what_is_odd_about_a_column(changes: dict, values: list[float], said: list[str]):
    found = Found("a", "number", "", 100, 0, 2, "", False)
    found = Found(**(vars(found) | changes))
    assert table_report.notes(found, Column("a", "number"), np.array(values), 0.5) == said
    assert table_report.LEAKS in table_report.notes(found, Column("a", "number"), np.array(values), 0.995)


ID = ["looks like an id"]


@pytest.mark.parametrize(
    ("distinct", "held", "categories", "resembles", "said"),
    [
        (100, 100, (), "", ID),
        (118, 120, (), "", ID),
        (79, 80, (), "", ["79 rare categories are unknown"]),  # too few texts to tell
        (3, 3, (), "", ["3 rare categories are unknown"]),
        (profiles.MAX_CATEGORIES + 1, 10**6, (), "", ID),  # more are not counted
        (60, 100, ("a", "b"), "", ["58 rare categories are unknown"]),
        (2, 100, ("36 months", "60 months"), "36 months", []),
        (60, 100, (), "", ["60 rare categories are unknown"]),
        (60, 100, (), "1,5", ["60 rare categories are unknown", f"{table_report.NOTATION}, such as '1,5'"]),
    ],
)
def test_what_is_odd_about_texts(
    distinct: int, held: int, categories: tuple[str, ...], resembles: str, said: list[str]
):
    found = Found("a", "category", "", held, 0, distinct, resembles, False)
    values = np.array([1, 1, 2, 2, 0]) if categories else np.ones(9)
    assert table_report.notes(found, Column("a", "category", categories), values, 0.5) == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.random.default_rng(0).integers(10**8, 10**9, 5000), ID),  # some are equal as float32
        (np.arange(300)[::-1], ID),
        (np.arange(300) + 0.5, []),
        (np.random.default_rng(0).integers(1000, 5000, 300), []),  # amounts
        (np.arange(30), []),  # too few to tell
    ],
)
def test_whole_numbers_that_are_all_different_may_be_ids(values: np.ndarray, said: list[str]):
    found = Found("a", "number", "", len(values), 0, len(values), "", False)
    given = values.astype(np.float32)
    assert table_report.notes(found, Column("a", "number"), given, 0.5) == said
    assert table_report.notes(found, Column("a", "date"), given, 0.5) == []


def test_columns_with_the_same_values_are_said():
    given = [{**row, "u": f"{row['t']}.0", "d": {"a": "x", "b": "y"}[row["c"]], "z": "1"} for row in rows()]
    found = packed(given)
    table_report.write(Path(), {name: getattr(found, name) for name in ("train", "val", "test")}, found.manifest, 0)
    notes = pd.read_csv("columns.csv", keep_default_na=False).set_index("column")["notes"]
    assert notes[["x", "c", "t"]].str.contains("same").sum() == 0 and notes["z"] == "constant"
    assert "same as t" in notes["u"] and notes["d"] == "same as c"


def test_a_leaking_column_and_numbers_in_another_notation_are_said_on_the_terminal(capsys: pytest.CaptureFixture):
    found = packed([{**row, "x": row["x"].replace(".", ","), "copy": row["y"]} for row in rows()])
    splits = {name: getattr(found, name) for name in ("train", "val", "test")}
    table_report.write(Path(), splits, found.manifest, 0)
    one, other = capsys.readouterr().out.splitlines()
    assert f"1 column {table_report.LEAKS} ('copy')" in one and f"1 column {table_report.NOTATION} ('x')" in other
    assert table_report.facts(found.manifest, splits)["suspect_columns"] == 3  # and t, which numbers the rows
