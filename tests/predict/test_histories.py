"""Tests of recommendations for tables of events."""

import csv
import os
from pathlib import Path

import pytest

from darkroom.predict import batch, histories
from tests import bundles, history_bundles
from tests.history_bundles import HOSTILE

EVENTS = "user,item,timestamp\nann,7,2\nann,12,1\nbob,99,1\ncleo,x,1\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    history_bundles.write("models/bundle")
    Path("events.csv").write_text(EVENTS, encoding="utf-8")


def run(*arguments: str) -> int | str:
    """The exit code of the command, or the message that it prints."""
    with pytest.raises(SystemExit) as ended:
        batch.main(["--threads", "1", *arguments])
    return ended.value.code


def table(path: str = "predictions.csv") -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def items(user: str) -> list[str]:
    return [row["item"] for row in table() if row["user"] == user]


def test_each_user_gets_the_most_probable_items(capsys: pytest.CaptureFixture):
    assert run("events.csv", "--count", "2") == 0
    rows = table()
    assert list(rows[0]) == histories.COLUMNS
    assert [(row["user"], row["rank"], row["item"], row["based_on"]) for row in rows] == [
        ("ann", "1", "a b", "history"),
        ("ann", "2", "0", "history"),
        ("bob", "1", "12", "popularity"),
        ("bob", "2", "7", "popularity"),
        ("cleo", "1", "7", "history"),
        ("cleo", "2", "12", "history"),
    ]
    probabilities = history_bundles.softmax(history_bundles.of(["12", "7"]))
    assert rows[0]["probability"] == f"{probabilities[2]:.6g}" and rows[0]["title"] == HOSTILE
    assert rows[0]["bundle"].endswith("-fp32") and "1 of 4 events" in capsys.readouterr().out


def test_items_of_the_history_can_be_kept():
    assert run("events.csv", "--keep-seen") == 0
    assert sorted(items("ann")) == sorted(history_bundles.ITEMS)
    assert run("events.csv") == 0
    assert items("ann") == ["a b", "0", "x"]


def test_the_latest_events_count_in_the_order_of_their_times():
    rows = [("eve", "7", 0), *(("eve", "12", place) for place in range(history_bundles.LENGTH, 0, -1))]
    Path("late.csv").write_text("user,item,time\n" + "".join(f"{a},{b},{c}\n" for a, b, c in reversed(rows)))
    assert run("late.csv", "--count", "5", "--keep-seen") == 0
    assert items("eve")[:3] == ["a b", "0", "7"]  # as after four times 12


def test_the_table_of_items_in_a_folder_is_skipped(capsys: pytest.CaptureFixture):
    os.mkdir("films")
    os.rename("events.csv", "films/events.csv")
    Path("films/items.csv").write_text("item,title\n7,Seven\n", encoding="utf-8")
    Path("films/names.csv").write_text("movieId,name\n7,Seven\n", encoding="utf-8")
    Path("films/ITEMS.tsv").write_text("id\ttitle\n7\tSeven\n", encoding="utf-8")
    assert run("films", "--count", "1") == 0 and items("cleo") == ["7"]
    error = capsys.readouterr().err
    assert all(f"films/{name}" in error for name in ("items.csv", "names.csv", "ITEMS.tsv"))
    assert "films/events.csv" not in error
    os.remove("films/events.csv")
    assert "no tables with a column of users" in run("films")


@pytest.mark.parametrize("header", ["who,item,timestamp", "who,thing,when"])
def test_no_other_table_in_a_folder_is_skipped(header: str):
    os.mkdir("months")
    os.rename("events.csv", "months/jan.csv")
    Path("months/feb.csv").write_text(f"{header}\nann,7,1\n", encoding="utf-8")
    message = run("months")
    assert "months/feb.csv has no column of the user" in message
    assert not Path("predictions.csv").exists()


def test_events_of_a_user_may_be_in_several_files_and_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(histories, "BLOCK", 2)
    os.mkdir("many")
    Path("many/a.csv").write_text("userId,movieId,timestamp\nann,12,1\nbob,x,1\n", encoding="utf-8")
    Path("many/b.jsonl").write_text(
        '{"user": "ann", "item": 7, "time": "1970-01-02"}\n{"user":"c","item":"0","time":3}'
    )
    assert run("many", "--count", "1") == 0
    assert [(row["user"], row["item"]) for row in table()] == [("ann", "a b"), ("bob", "7"), ("c", "x")]


def test_an_event_that_is_given_twice_counts_once():
    rows = "ann,7,1\n" + "ann,12,2\n" * 9
    Path("twice.csv").write_text(f"user,item,timestamp\n{rows}", encoding="utf-8")
    assert run("twice.csv", "--keep-seen") == 0
    probabilities = history_bundles.softmax(history_bundles.of(["7", "12"]))
    assert [row["probability"] for row in table()] == [f"{value:.6g}" for value in sorted(probabilities)[::-1]]


def test_an_earlier_table_is_replaced_but_no_other_file(capsys: pytest.CaptureFixture):
    assert run("events.csv") == 0
    before = Path("predictions.csv").read_bytes()
    Path("events.csv").write_text(EVENTS.replace("cleo", "dan"), encoding="utf-8")
    assert run("events.csv") == 0
    assert {row["user"] for row in table()} == {"ann", "bob", "dan"}
    assert Path("predictions.csv").read_bytes() != before
    Path("notes.csv").write_text("mine\n", encoding="utf-8")
    assert "notes.csv" in run("events.csv", "--output", "notes.csv")
    assert Path("notes.csv").read_text(encoding="utf-8") == "mine\n"
    assert "models" in run("events.csv", "--output", "models")


def test_a_failure_keeps_the_earlier_table(monkeypatch: pytest.MonkeyPatch):
    assert run("events.csv") == 0
    before = Path("predictions.csv").read_bytes()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(histories, "_rows", fail)
    assert run("events.csv") == 130
    assert Path("predictions.csv").read_bytes() == before
    assert sorted(os.listdir()) == ["events.csv", "models", "predictions.csv"]


def test_the_table_can_be_printed(capfd: pytest.CaptureFixture):
    assert run("events.csv", "--output", "-", "--count", "1") == 0
    assert capfd.readouterr().out.splitlines()[0] == ",".join(histories.COLUMNS)


def test_without_any_known_item_the_command_fails():
    Path("events.csv").write_text("user,item,timestamp\nann,1000,1\n", encoding="utf-8")
    assert run("events.csv") == 1
    assert {row["based_on"] for row in table()} == {"popularity"}


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        (b"", "events.csv"),
        (b"user,item,timestamp\n", "events.csv"),
        (b"user,item\nann,7\n", "time"),
        (b"client,thing,when\nann,7,1\n", "item"),
        (b"user,item,timestamp\nann,7,soon\n", "soon"),
        (b"user,item,timestamp\nann,7,1,2\n", "row 1"),
        (b"user,item,item,timestamp\nann,7,7,1\n", "item"),
        (b"user,item,timestamp\nann,\xff,1\n", "UTF-8"),
        (b"user,item,timestamp\nann,,1\n", "row 1"),
        (b"user,item,timestamp\nann,7,inf\n", "inf"),
    ],
)
def test_bad_input_is_one_clear_line(contents: bytes, named: str):
    Path("events.csv").write_bytes(contents)
    message = run("events.csv")
    assert named in message and "\n" not in message
    assert not Path("predictions.csv").exists()


@pytest.mark.parametrize("options", [["--top-k", "2"], ["--sets", "marginal"], ["--count", "0"]])
def test_options_of_classifiers_are_refused(options: list[str]):
    assert run("events.csv", *options) == 2


def test_classifiers_have_no_count():
    bundles.write("models/bundle")
    assert run("events.csv", "--count", "2") == 2 == run("events.csv", "--keep-seen")


def test_no_events():
    os.mkdir("empty")
    assert "empty" in run("empty")
    assert "nothing" in run("nothing.csv")


GIVEN = {"user": "who", "item": "what", "time": "when", "rating": "liked", "min_rating": 3}


def test_columns_and_the_lowest_rating_are_those_of_the_training_data(capsys: pytest.CaptureFixture):
    history_bundles.write("models/bundle", events=GIVEN)
    folder = Path("folder")
    folder.mkdir()
    (folder / "events.csv").write_text(
        "who,what,when,liked,user,rating\nann,7,2,5,x,1\nann,x,3,2.5,x,5\nann,12,1,3,x,1\nbob,7,1,1,x,5\n"
    )
    assert run("folder", "--count", "2") == 0
    assert items("ann") == ["a b", "0"] and items("bob") == ["12", "7"]
    assert "2 events below min_rating = 3" in capsys.readouterr().out


def test_a_table_without_the_columns_of_the_training_data_is_read_by_usual_names(capsys: pytest.CaptureFixture):
    history_bundles.write("models/bundle", events=GIVEN)
    assert run("events.csv", "--count", "2") == 0
    assert items("ann") == ["a b", "0"]
    assert "events.csv has no column of ratings" in capsys.readouterr().err
    Path("rated.csv").write_text("user,item,timestamp,stars\nann,7,2,5\nann,12,1,2\n", encoding="utf-8")
    assert run("rated.csv", "--count", "1", "--keep-seen") == 0
    assert items("ann") == ["12"]
