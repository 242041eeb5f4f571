"""The choice of texts to label."""

import csv
from pathlib import Path

import pytest
import torch

from darkroom.acquire import __main__ as acquire
from darkroom.acquire import batch
from darkroom.core import arrays
from darkroom.label import examples
from darkroom.label.examples import Packed
from tests import texts

FOLDER = Path(".darkroom/queue")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads = torch.get_num_threads()
    texts.make(tmp_path, labels_per_class=2)
    monkeypatch.chdir(tmp_path)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["margin", "badge", "typiclust"])
def test_the_queue_holds_the_texts(name: str):
    texts.train()
    acquire.main(["--count", "4", "--strategy", name])
    with (FOLDER / "queue.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    packed = Packed()
    assert [row["text"] for row in rows] == [packed.text(row["id"]) for row in rows] and len(rows) == 4
    assert {row["predicted"] for row in rows} <= {"lost", "stolen"}
    assert not (FOLDER / "sheet.png").exists()
    assert [one.id for one in examples.queue(packed, examples.QUEUE).examples] == [row["id"] for row in rows]


def test_without_a_network_there_are_no_features(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stopped:
        acquire.main(["--count", "4"])
    assert "needs images" in stopped.value.code and "dvc repro train" in stopped.value.code


def test_near_copies_are_left_out():
    assert batch.distinct_texts(["Where is my new card?", "where is my new card", "Stolen!"], False).tolist() == [
        True,
        False,
        True,
    ]


def test_the_texts_are_those_of_the_ids():
    split = arrays.read_unlabelled("data/arrays")
    packed = Packed()
    assert [packed.text(one) for one in split.ids.tolist()] == arrays.read_texts("data/arrays", "unlabelled")
