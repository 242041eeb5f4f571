import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, table_folder

ROWS = [
    {"id": "a", "age": "20", "job": "nurse", "since": "2024-01-01", "y": "no"},
    {"id": "b", "age": "?", "job": "", "since": "", "y": "yes"},
    {"id": "c", "age": "40", "job": "clerk", "since": "2024-01-03", "y": "no"},
]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/datasets/toy").mkdir(parents=True)


def write(rows: list[dict], name: str = "clients.csv", **described: object) -> None:
    with Path("data/datasets/toy", name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    Path("data/datasets/toy/dataset.yaml").write_text(yaml.safe_dump({"kind": "table", **described}))


def build() -> str:
    return table_folder.build(descriptions.load("toy"), "data/raw")


def test_the_index_holds_columns_values_and_rows():
    write(ROWS)
    assert build() == "3 rows of 2 classes, 3 columns (1 of numbers, 1 of dates, 1 of categories)"
    columns, values, rows = table_folder.read("data/raw")
    assert (columns.target, columns.positive, columns.names) == ("y", "yes", ["age", "job", "since"])
    np.testing.assert_array_equal(values, np.array([[20, 3, 19723], [np.nan, 0, np.nan], [40, 2, 19725]], np.float32))
    assert [(row.id, row.label, row.split) for row in rows] == [("a", "no", ""), ("b", "yes", ""), ("c", "no", "")]
    assert [found.held for found in table_folder.read_profiles("data/raw")] == [2, 2, 2]


def test_the_users_description_counts():
    write(ROWS, target="job", categorical=["age"], ignore=["since"], group="y", positive="clerk")
    assert build() == "2 rows of 2 classes, 1 column (1 of categories)".replace("2 rows", "3 rows") + (
        "; 1 row without a value of job"
    )
    columns, _, rows = table_folder.read("data/raw")
    assert columns.positive == "clerk" and columns.columns[0].categories == ("20", "40")
    assert (rows[0].group, rows[0].columns) == ("no", '{"since": "2024-01-01"}')
    assert table_folder.columns(descriptions.load("toy")) == ["group", "since", "age"]


def test_an_id_of_several_rows_may_be_their_group():
    write([{**row, "id": "ab"[number % 2]} for number, row in enumerate(ROWS)], group="id")
    build()
    rows = table_folder.read("data/raw")[2]
    assert [row.group for row in rows] == ["a", "b", "a"] and len({row.id for row in rows}) == 3


def test_a_row_without_a_class_may_have_the_group_of_another_split():
    rows = [{**row, "client": name} for row, name in zip(ROWS, "abc", strict=True)]
    write([*rows, {**rows[0], "id": "d", "client": "e", "y": ""}], "train.csv", group="client")
    write([{**row, "id": row["id"] * 2, "client": "e"} for row in rows], "test.csv", group="client")
    build()
    assert {row.split for row in table_folder.read("data/raw")[2] if row.group == "e"} == {"train", "test"}


def test_corrections_of_labels_are_no_rows():
    write(ROWS, "train.csv")
    Path("data/datasets/toy/corrections.csv").write_text("id,label\na,yes\n")
    build()
    assert len(table_folder.read("data/raw")[2]) == len(ROWS)


def test_files_that_are_named_like_splits():
    write(ROWS, "train.csv")
    write([{**row, "id": row["id"] * 2} for row in ROWS], "test.csv")
    build()
    assert [row.split for row in table_folder.read("data/raw")[2]] == ["test"] * 3 + ["train"] * 3


@pytest.mark.parametrize(("classes", "positive"), [("01", "1"), (("no", "yes"), "yes"), (("bad", "good"), "bad")])
def test_the_positive_class_is_the_affirmative_or_the_rarer_one(classes: tuple[str, ...], positive: str):
    write([{"a": "1", "y": classes[number > 0]} for number in range(3)])
    build()
    assert table_folder.read("data/raw")[0].positive == positive


def test_numbers_and_true_name_a_positive_class_as_texts_do():
    for positive, expected, classes in ((1.0, "1", "01"), (0, "0", "01"), (True, "true", ("true", "false"))):
        write([{"a": "1", "y": classes[number > 0]} for number in range(3)], positive=positive)
        build()
        assert table_folder.read("data/raw")[0].positive == expected


def test_texts_that_count_as_no_label_are_named():
    write([{"a": "1", "y": name} for name in ("none", "mild", "severe", "", "NA")])
    assert build().endswith("; 3 rows without a value of y (NA, none)")


def test_more_than_two_classes_have_no_positive_one():
    write([{"a": "1", "y": str(number)} for number in range(3)])
    build()
    assert table_folder.read("data/raw")[0].positive is None


def test_many_named_classes_may_have_few_labels_each():
    write([{"a": "1", "y": f"c{number % 60}" if number < 100 else ""} for number in range(300)])
    assert build().startswith("300 rows of 60 classes")


def test_a_first_column_without_a_name_numbers_the_rows():
    write([{"": str(number), "a": "1", "y": str(number % 2)} for number in range(4)])
    build()
    assert table_folder.read("data/raw")[0].names == ["a"]


@pytest.mark.parametrize(
    ("rows", "described", "said"),
    [
        (ROWS, {"target": "z"}, "target = 'z'"),
        ([{"a": "1", "b": "2"}], {}, "which column to predict"),
        ([{**row, "y": "no"} for row in ROWS], {}, "only one class"),
        ([{"a": "1", "y": f"{number}.5"} for number in range(9)], {}, "a class is needed"),
        ([{"a": "1", "y": f"c{number}"} for number in range(300)], {}, "a class is needed"),
        ([{**row, "y": ""} for row in ROWS], {}, "has no values"),
        ([{**row, "id": "a"} for row in ROWS], {}, "'a' twice"),
        ([{"y": "1"}, {"y": "0"}], {}, "no columns besides"),
        ([{"a": "1", "y": str(number)} for number in range(50)], {}, "a class is needed"),
        (ROWS, {"positive": "maybe"}, "positive = 'maybe'"),
        ([{**row, "y": row["id"]} for row in ROWS], {"positive": "a"}, "3 classes"),
        (ROWS, {"numeric": ["age"], "categorical": ["age"]}, "'age' is numeric and categorical"),
        (ROWS, {"time": "job"}, "the time"),
        ([{**row, "split": "later"} for row in ROWS], {}, "split 'later'"),
        (ROWS, {"colour": "red"}, "colour"),
        ([{**row, "group": "control"} for row in ROWS], {}, "`group: group`"),
        ([{**row, "group": "control"} for row in ROWS], {"ignore": ["group"]}, "`group: group`"),
    ],
)
def test_a_wrong_dataset_is_reported_in_one_line(rows: list[dict], described: dict, said: str):
    write(rows, **described)
    with pytest.raises(DarkroomError, match=said) as error:
        build()
    assert "\n" not in str(error.value) and not Path("data/raw").exists()


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("2024-01-01", "1704153600", "3.1.2024"), "row 2, has the time '1704153600': it must be a date"),
        (("20240101", "20240102", "2024-01-03"), "row 3, has the time '2024-01-03': it must be a number"),
        (("?", "2024-01-01", "2024-01-03"), "row 1, has the time '\\?': it must be a date"),
    ],
)
def test_times_are_all_numbers_or_all_dates(times: tuple[str, ...], said: str):
    write([{**row, "since": since} for row, since in zip(ROWS, times, strict=True)], time="since")
    with pytest.raises(DarkroomError, match=said):
        build()


def test_tables_with_different_columns_are_reported():
    write(ROWS, "train.csv")
    write([{**row, "more": "1"} for row in ROWS], "test.csv")
    with pytest.raises(DarkroomError, match="'more' is not in every table"):
        build()
