"""Folders of histories: what is read of them, and one clear line for what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, events, histories
from darkroom.datasets.histories import Index

HEADER = "user,item,timestamp"
ROWS = ("u1,a,30", "u1,b,10", "u2,a,20", "u2,c,25")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("data/datasets/films").mkdir(parents=True)


def put(name: str, *lines: str) -> None:
    Path("data/datasets/films", name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def build(described: str = "") -> tuple[str, Index]:
    put("dataset.yaml", "kind: history", described)
    summary = histories.build(descriptions.load("films"), "data/raw")
    return summary, histories.read("data/raw")


def listed(index: Index) -> list[tuple[str, str, float]]:
    return [(index.users[user], index.items[item], time) for user, item, time in index.events.tolist()]


def test_events_are_read_with_their_users_items_and_times():
    put("ratings.csv", HEADER, *ROWS)
    summary, index = build()
    assert listed(index) == [("u1", "a", 30), ("u1", "b", 10), ("u2", "a", 20), ("u2", "c", 25)]
    assert summary == "4 events of 2 users and 3 items (ratings.csv)"
    assert not index.titles and not index.features


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.tsv", ["userId\tmovieId\trating\ttimestamp", "1\t7\t5\t10", "2\t8\t1\t20"]),
        ("a.csv", ["\ufeffUser ID;Product_ID;Date", "1;7;1970-01-01T00:00:10Z", "2.0;8;1970-01-01 00:00:20"]),
        ("a.jsonl", ['{"user_id": 1, "item": "7", "ts": 10}', "", '{"user_id": 2, "item": 8.0, "ts": "20"}']),
    ],
)  # fmt: skip
def test_usual_names_and_formats_are_understood(name: str, lines: list[str]):
    put(name, *lines)
    assert listed(build()[1]) == [("1", "7", 10), ("2", "8", 20)]


def test_dataset_yaml_names_columns_files_and_the_lowest_rating():
    put("log.csv", "who,what,when,grade", "x,a,1,5", "y,b,2,3", "x,b,3,4")
    put("tags.csv", "user,item,time", "x,a,1")
    put("films.csv", "id,name", "a,Alien")
    described = "user: who\nitem: what\ntime: when\nrating: grade\nmin_rating: 4\nevents: log.csv\nitems: films.csv"
    summary, index = build(described)
    assert listed(index) == [("x", "a", 1), ("x", "b", 3)] and index.titles == {"a": "Alien"}
    assert "1 event below min_rating left out" in summary


def test_items_have_titles_and_features():
    put("ratings.csv", HEADER, *ROWS)
    put("movies.csv", "movieId,title,genres,year", "a,Alien,Horror|Sci-Fi,1979", "z,Zodiac,Crime,2007")
    summary, index = build()
    assert index.titles == {"a": "Alien", "z": "Zodiac"}
    assert index.features == {"genres": {"a": "Horror|Sci-Fi", "z": "Crime"}, "year": {"a": "1979", "z": "2007"}}
    assert summary.endswith("(ratings.csv); 2 items not in movies.csv; 1 item of movies.csv without events")


def test_a_column_of_items_may_be_named_like_another_one():
    put("ratings.csv", HEADER, *ROWS)
    put("items.csv", "movieId,label,title,item", "a,L1,T1,x", "b,L2,T2,y")
    _, index = build("item: item")
    assert index.titles == {"x": "T1", "y": "T2"}
    assert index.features == {"movieId": {"x": "a", "y": "b"}, "label": {"x": "L1", "y": "L2"}}


@pytest.mark.parametrize("named", ['"title": "x\\ud83d"', '"title": "x", "k\\ud83d": "1"'])
def test_half_a_character_of_an_item_is_one_clear_line(named: str):
    put("ratings.csv", HEADER, *ROWS)
    put("items.jsonl", f'{{"item": "a", {named}}}', f'{{"item": "b", {named}}}')
    with pytest.raises(DarkroomError, match=r"items\.jsonl, row 1: .*is not valid Unicode"):
        build()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["item,time", "a,1"], "no column of the user but 'item', 'time'"),
        (["user,time", "a,1"], "no column of the item"),
        (["user,item", "a,1"], "no column of the time"),
        (["user,item,time,item", "u,a,1,b"], "the column 'item' twice"),
        ([HEADER], "has no events"),
        ([HEADER, *ROWS, "u3,b"], "row 5: 2 values for 3 columns"),
        ([HEADER, *ROWS, "u3,b,now", "u3,b,"], "2 rows of 6 without a readable time, the first is row 5 with time"),
        ([HEADER, *ROWS, ",b,50"], "row 5: the user is missing ('')"),
        ([HEADER, *ROWS, "NA,b,50"], "row 5: the user is missing ('NA')"),
        ([HEADER, *ROWS, "u3,,50"], "row 5: the item is missing"),
        ([HEADER, "u1,a,1", "u2,a,2"], "at least 2 items are needed"),
        ([HEADER, "u1,a,03/04/2024", "u2,b,03/05/2024"], "may be day/month or month/day"),
        ([HEADER, "u1,a,1", f"u2,{'x' * 300},2"], "row 2: the item has more than 200 characters"),
    ],
)  # fmt: skip
def test_bad_events_are_one_clear_line(lines: list[str], message: str):
    put("ratings.csv", *lines)
    with pytest.raises(DarkroomError) as raised:
        build()
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not Path("data/raw").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [(['{"user": 1'], "line 1 is not JSON"), (["[1]"], "line 1 must be an object"), (['{"user": [1]}'], "line 1 must")],
)
def test_bad_json_lines_are_one_clear_line(lines: list[str], message: str):
    put("ratings.jsonl", *lines)
    with pytest.raises(DarkroomError, match=message):
        build()


def test_ratings_that_leave_nothing_are_counted():
    put("ratings.csv", f"{HEADER},stars", "u1,a,30,2", "u1,b,10,3")
    with pytest.raises(DarkroomError, match="has 0 events of 2 items, with 2 ratings below min_rating left out"):
        build("min_rating: 4")


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("time: when", "no column 'when', which dataset.yaml gives as time"),
        ("events: rating.csv", "events = 'rating.csv' is no .csv, .tsv or .jsonl file; did you mean ratings.csv?"),
        ("min_rating: 4", "no column of ratings for min_rating = 4"),
        ("item: user", "'user' is both user and item"),
        ("user: 3", "must be text"),
        ("users: who", "users is not a key"),
    ],
)
def test_a_bad_dataset_yaml_is_one_clear_line(described: str, message: str):
    put("ratings.csv", HEADER, *ROWS)
    with pytest.raises(DarkroomError) as raised:
        build(described)
    assert message in str(raised.value)


def test_several_files_of_events_must_be_told_apart():
    put("ratings.csv", HEADER, *ROWS)
    put("tags.csv", HEADER, *ROWS)
    with pytest.raises(DarkroomError, match=r"ratings\.csv, tags\.csv can all hold the events: add `events: r"):
        build()


def test_an_item_that_is_listed_twice_is_an_error():
    put("ratings.csv", HEADER, *ROWS)
    put("items.csv", "item,title", "a,Alien", "a,Aliens")
    with pytest.raises(DarkroomError, match=r"items.csv, row 2, lists the item 'a' twice"):
        build()


def test_no_events_at_all():
    with pytest.raises(DarkroomError, match=r"has no events: add a \.csv or \.jsonl file"):
        build()


def test_events_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch):
    put("ratings.csv", HEADER, *ROWS)
    whole = build()[1]
    original = events.records.blocks
    monkeypatch.setattr(events.records, "blocks", lambda path: original(path, 3))
    assert np.array_equal(build()[1].events, whole.events)
