"""Histories from their events to the packed arrays and the report."""

import json
from collections import Counter
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, histories
from darkroom.preprocess import histories as packed
from darkroom.preprocess import history_report, item_features
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.histories import Histories
from darkroom.recommend import histories as recommended
from tests import histories as toys
from tests.preprocess.test_selection import RULES, SETTINGS


def settings(**changes: object) -> PreprocessConfig:
    clean = CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0})
    return PreprocessConfig(**SETTINGS | {"history": SETTINGS["history"] | changes}, clean=clean)


def pack(
    folder: Path, found: list[tuple[str, str, int]] | None = None, **changes: object
) -> tuple[Manifest, Histories]:
    """Write the arrays of these events, or of `toys.events()`, to <folder>/data/arrays."""
    raw = toys.raw(folder / "data/datasets/films", found)
    if found is not None:
        (raw / "items.csv").unlink()
    with chdir(folder):
        histories.build(descriptions.load("films"), "data/raw")
        with Histories("data/raw", settings(**changes)) as examples:
            selected = packed.select(examples, settings(**changes), 0)
            return examples.write("data/arrays", selected.samples, selected.classes), examples


def shown(folder: Path, name: str) -> dict[str, tuple[list[str], str]]:
    """By id: the items of a history, and the one that comes next."""
    manifest, split = arrays.read_manifest(folder / "data/arrays"), arrays.read_split(folder / "data/arrays", name)
    names = np.array(["", *manifest.classes])
    return {
        one: ([name for name in names[tokens].tolist() if name], manifest.classes[label])
        for one, tokens, label in zip(split.ids.tolist(), split.inputs, split.labels.tolist(), strict=True)
    }


EVENTS = [("ann", item, time) for time, item in enumerate("abcdefgh")] + [
    ("bob", "a", 3),
    ("bob", "b", 2),
    ("cy", "c", 9),
]


def test_histories_are_packed_oldest_first_with_the_next_item_as_label(tmp_path: Path):
    manifest, _ = pack(tmp_path, EVENTS, max_length=4)
    assert manifest.kind == "history" and manifest.shape == (4, 9, 0) and dict(manifest.counts) == {
        "train": 2, "val": 1, "test": 2
    }  # fmt: skip
    assert shown(tmp_path, "test") == {
        "user ann/test": (["d", "e", "f", "g"], "h"), "user bob/test": (["b"], "a")
    }  # fmt: skip
    assert shown(tmp_path, "val") == {"user ann/val": (["c", "d", "e", "f"], "g")}
    assert shown(tmp_path, "train") == {
        "user ann/train/1": (["b", "c", "d", "e"], "f"), "user ann/train/2": (["a"], "b")
    }  # fmt: skip
    split = arrays.read_split(tmp_path / "data/arrays", "train")
    assert (split.inputs.dtype, split.labels.dtype) == (np.int32, np.int64)
    assert not split.inputs[1, 1:].any()  # padding is at the end
    assert arrays.read_columns(tmp_path / "data/arrays", "test")["user"].tolist() == ["ann", "bob"]


def test_classes_are_the_items_by_their_training_events_then_by_name(tmp_path: Path):
    manifest, _ = pack(tmp_path, EVENTS)
    items = arrays.read_items(tmp_path / "data/arrays")
    assert manifest.classes == ("b", "a", "c", "d", "e", "f", "g", "h")
    assert items.train_events.tolist() == [2, 1, 1, 1, 1, 1, 0, 0]
    assert items.features.shape == (8, 0) and set(items.titles.tolist()) == {""}


def test_what_dataset_yaml_says_of_the_events_goes_with_the_arrays(tmp_path: Path):
    assert dict(pack(tmp_path / "plain", EVENTS)[0].events) == {}
    raw = toys.raw(tmp_path / "data/datasets/films")
    table = pd.read_csv(raw / "events.csv").rename(columns={"user": "who"}).assign(liked=3)
    table.to_csv(raw / "events.csv", index=False)
    said = "kind: history\nuser: who\nrating: liked\nmin_rating: 2.5\n"
    (raw / "dataset.yaml").write_text(said, encoding="utf-8")
    with chdir(tmp_path):
        histories.build(descriptions.load("films"), "data/raw")
        with Histories("data/raw", settings()) as examples:
            examples.write("data/arrays", packed.select(examples, settings(), 0).samples, examples.classes)
        written = arrays.read_manifest("data/arrays").events
    assert dict(written) == {"user": "who", "rating": "liked", "min_rating": 2.5}


def test_rare_users_and_items_single_events_and_copies_are_counted(tmp_path: Path):
    manifest, examples = pack(tmp_path, [*EVENTS[:4], ("ann", "e", 3), *EVENTS[5:], EVENTS[0]], min_user_events=3)
    summary = json.loads((tmp_path / "data/arrays" / history_report.SUMMARY).read_text())
    assert summary["simultaneous_events"] == 1 and summary["events"] == 8
    assert {name for one in shown(tmp_path, "test") for name in [one]} == {"user ann/test"}
    assert examples.notices == [
        "1 event left out: the same user, item and time as another",
        "2 users left out: fewer than 3 events, 1 of them with one",
    ]
    assert len(manifest.classes) == 8


def test_a_cut_in_time(tmp_path: Path):
    found = [(f"u{user}", f"i{time % 7}", 10 * time + user) for user in range(3) for time in range(10)]
    _, examples = pack(tmp_path, found, split="time")
    assert examples.notices[-1].startswith("validation from 1970-01-01") and "3 users" in examples.notices[-1]
    summary = json.loads((tmp_path / "data/arrays" / history_report.SUMMARY).read_text())
    stamps = {(user, item): time for user, item, time in found}
    for name, low, high in (("val", summary["val_from"], summary["test_from"]), ("test", summary["test_from"], np.inf)):
        for one, (_, item) in shown(tmp_path, name).items():
            user = one.split("/")[0].removeprefix("user ")
            assert any(low <= time < high for (owner, other), time in stamps.items() if (owner, other) == (user, item))
    items = arrays.read_items(tmp_path / "data/arrays")
    assert items.train_events.sum() == sum(time < summary["val_from"] for *_, time in found)


def test_all_earlier_events_are_seen_also_those_between_the_cuts(tmp_path: Path):
    times = {"ann": [*range(3), *range(60, 80)], "bob": [*range(60), *range(80, 100)]}  # of 72 to 76 none is packed
    found = [(user, f"i{time}", time) for user in times for time in times[user]]
    manifest, _ = pack(tmp_path, found, split="time", max_length=2)
    for split in ("val", "test"):
        ids = arrays.read_split(tmp_path / "data/arrays", split).ids.tolist()
        seen = recommended.seen(tmp_path / "data/arrays", split).toarray()
        for one, row, (_, label) in zip(ids, seen, shown(tmp_path, split).values(), strict=True):
            own = [item for user, item, _ in sorted(found, key=lambda row: row[2]) if user == one.split("/")[0][5:]]
            assert {manifest.classes[item] for item in np.flatnonzero(row)} == {*own[: own.index(label)]}


def test_the_arrays_do_not_depend_on_the_order_of_the_rows(tmp_path: Path):
    one, _ = pack(tmp_path / "one")
    found = toys.events()
    toys.raw(tmp_path / "two/data/datasets/films", found[::-1])
    with chdir(tmp_path / "two"):
        histories.build(descriptions.load("films"), "data/raw")
        with Histories("data/raw", settings()) as examples:
            examples.write("data/arrays", examples.samples, examples.classes)
    assert arrays.read_manifest(tmp_path / "two/data/arrays").classes == one.classes
    for name in SPLITS:
        assert shown(tmp_path / "one", name) == shown(tmp_path / "two", name)


def test_no_history_left_is_one_clear_line(tmp_path: Path):
    with pytest.raises(DarkroomError, match="none is left, with at least 2 per user and 9 per item"):
        pack(tmp_path / "a", EVENTS, min_item_events=9)
    with pytest.raises(DarkroomError, match="the split train has no histories"):
        pack(tmp_path / "b", EVENTS[8:])


def test_items_with_features_are_classes_without_events(tmp_path: Path):
    raw = toys.raw(tmp_path / "data/datasets/films", [*toys.events(), ("rare", "lonely", 5)])
    with (raw / "items.csv").open("a", encoding="utf-8") as file:
        file.write("new,A new one,drama|war\n")
    with chdir(tmp_path):
        histories.build(descriptions.load("films"), "data/raw")
        with Histories("data/raw", settings(min_user_events=3)) as examples:
            manifest = examples.write("data/arrays", examples.samples, examples.classes)
        items = arrays.read_items("data/arrays")
        assert manifest.classes[-2:] == ("lonely", "new") and items.titles[-1] == "A new one"
        assert not items.train_events[-2:].any() and items.features[-1].any()
        assert examples.notices[-1] == "the events of 1 item left out: of such users alone"
        with Histories("data/raw", settings(min_user_events=3, min_item_events=2)) as examples:
            assert not {"lonely", "new"} & {*examples.classes}


def test_features_are_tags_categories_numbers_and_words():
    items = [f"i{number}" for number in range(120)]
    columns = {
        "genres": {item: "drama|war" if number % 2 else "comedy" for number, item in enumerate(items)},
        "country": {item: "pt" if number < 110 else "" for number, item in enumerate(items)},
        "year": {item: str(1900 + number) for number, item in enumerate(items)},
        "story": {item: f"Girl meets boy {number}, the end" for number, item in enumerate(items)},
    }
    names, table = item_features.build(columns, items)
    assert {"genres: drama", "genres: war", "genres: comedy", "country: pt", "year: group 0", "year: group 7"} <= {
        *names
    }
    assert {"story: girl", "story: meets", "story: boy", "story: the", "story: end"} <= {*names}
    assert np.linalg.norm(table, axis=1) == pytest.approx(1, rel=1e-6)
    assert item_features.build({}, items)[1].shape == (120, 0)
    assert item_features.build({"one": {"i0": "x"}}, items)[0] == []  # of fewer than MIN_ITEMS items


def test_the_report_is_bounded_with_many_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifest, _ = pack(tmp_path)
    monkeypatch.setattr(history_report, "MAX_ROWS", 4)
    with chdir(tmp_path):
        parts = {name: arrays.read_split("data/arrays", name) for name in SPLITS}
        table = history_report.counts(parts, manifest.classes)
        numbers = history_report.facts(manifest, parts)
        Path("report").mkdir()
        history_report.write(Path("report"), parts, manifest, 0)
    events = arrays.read_items(tmp_path / "data/arrays").train_events
    assert table["class"].tolist() == [*manifest.classes[:3], history_report.OTHERS]
    assert table["train"].tolist() == [*events[:3], events[3:].sum()]
    assert table[["val", "test"]].sum().tolist() == [len(parts["val"]), len(parts["test"])]
    assert numbers["events"] == len(toys.events()) and numbers["users"] == 12 and numbers["repeated_events"] == 0
    lengths = Counter(user for user, *_ in toys.events())
    assert numbers["cut_histories"] == sum(count - 1 > 6 for count in lengths.values())
    assert all(isinstance(value, int | float) for value in numbers.values())
    for name in ("popularity", "lengths", "gaps", "samples"):
        assert len(pd.read_csv(tmp_path / "report" / f"{name}.csv"))


def test_the_popularity_curve_has_few_rows_and_ends_at_all_events():
    curve = history_report.popularity(np.arange(100_000)[::-1])
    assert len(curve) <= 30 and curve["events_fraction"].is_monotonic_increasing
    assert curve.iloc[-1].tolist() == [100_000, 0, 1]
