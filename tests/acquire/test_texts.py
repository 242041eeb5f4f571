"""The choice of texts to label."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from darkroom.acquire import __main__ as acquire
from darkroom.acquire import batch, embedding
from darkroom.core import arrays
from darkroom.label import examples
from darkroom.label.examples import Packed
from tests import texts

FOLDER = Path(".darkroom/queue")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts.make(tmp_path, labels_per_class=2)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["random", "margin", "entropy", "coreset", "badge", "typiclust"])
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


def test_without_a_network_the_features_are_the_tokens():
    acquire.main(["--count", "4"])
    about = json.loads((FOLDER / "queue.json").read_text(encoding="utf-8"))
    assert (about["features"], about["strategy"], about["predicted_classes"]) == ("texts", "typiclust", None)


def test_features_of_images_do_not_go_with_texts():
    with pytest.raises(SystemExit, match=r"--features images does not go with texts: use --features texts\."):
        acquire.main(["--count", "4", "--features", "images"])


def test_texts_with_the_same_rare_tokens_are_alike():
    """Of the tokens 1 to 4, the first is in every text, so it says nothing."""
    inputs = np.array([[1, 2, 2, 0], [2, 1, 0, 0], [1, 3, 0, 0], [1, 4, 0, 0]], np.int32)
    weights = embedding.rarity(inputs, 5)
    assert weights == pytest.approx(np.log(5 / np.array([5, 5, 3, 2, 2])), abs=1e-6)
    found = embedding.bags(inputs, weights)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4)) and found[0] @ found[1] == pytest.approx(1)
    assert abs(found[0] @ found[2]) < 0.01
    assert not embedding.bags(np.zeros((1, 3), np.int32), weights).any()


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
