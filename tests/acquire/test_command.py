import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.acquire import __main__ as acquire
from darkroom.acquire import batch, queue
from darkroom.acquire.strategies import Choice
from darkroom.core import arrays
from darkroom.label import examples
from darkroom.label.examples import Packed
from darkroom.models import checkpoints
from tests.label import projects
from tests.networks import SMALL, small

FOLDER = Path(".darkroom/queue")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project with 12 unlabelled images as the current folder."""
    monkeypatch.chdir(projects.make(tmp_path, unlabelled=12))


def train() -> None:
    """Put a network with random weights into models/trained."""
    manifest = arrays.read_manifest("data/arrays")
    network = small("lstm", manifest.shape)
    description = checkpoints.describe("lstm", SMALL["lstm"], manifest, {"device": "cpu"})
    checkpoints.save("models/trained", network, description)


def written() -> tuple[list[dict[str, str]], dict]:
    with (FOLDER / "queue.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file)), json.loads((FOLDER / "queue.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["random", "margin", "entropy", "coreset", "badge", "typiclust", "auto"])
def test_the_label_page_shows_what_a_strategy_chose(name: str, capsys: pytest.CaptureFixture):
    train()
    acquire.main(["--count", "5", "--strategy", name])
    rows, about = written()
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert list(rows[0]) == ["rank", "id", "score", "predicted", "reason"]
    assert {row["predicted"] for row in rows} <= set(projects.CLASSES) and all(row["reason"] for row in rows)
    assert about["strategy"] == ("typiclust" if name == "auto" else name) and about["asked"] == name
    assert about["features"] == "trained" and len(about["model_sha256"]) == 64
    assert about["counts"] == {
        "labelled": 6,
        "unlabelled": 12,
        "answered": 0,
        "chosen": 5,
        "near_duplicates_left_out": 0,
    }
    assert sum(about["predicted_classes"].values()) == 5
    assert [item["id"] for item in about["items"]] == [row["id"] for row in rows]
    shown = examples.queue(Packed(), examples.QUEUE)
    assert [one.id for one in shown.examples] == [row["id"] for row in rows] and not shown.notes
    assert shown.examples[0].reason == rows[0]["reason"] and shown.examples[0].predicted == rows[0]["predicted"]
    with Image.open(FOLDER / "sheet.png") as sheet:
        assert sheet.width > 300
    assert "predicted classes" in capsys.readouterr().out


def test_the_same_seed_repeats_every_byte():
    train()
    acquire.main(["--count", "5", "--strategy", "badge", "--seed", "3"])
    before = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    acquire.main(["--count", "5", "--strategy", "badge", "--seed", "3"])
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == before


def test_without_a_model_typical_images_are_chosen(capsys: pytest.CaptureFixture):
    acquire.main(["--count", "4"])
    rows, about = written()
    assert (about["strategy"], about["features"], about["model_sha256"]) == ("typiclust", "images", None)
    assert about["predicted_classes"] is None and {row["predicted"] for row in rows} == {""}
    assert "predicted classes" not in capsys.readouterr().out


def test_answered_examples_are_not_asked_for_again():
    projects.labels(Path()).write_text(
        "id,label,by,at\n" + "".join(f"{name},cat,anna,2026-01-01T00:00:00Z\n" for name in projects.ids(9))
    )
    acquire.main(["--count", "3"])
    rows, about = written()
    assert {row["id"] for row in rows} == set(projects.ids(12)[9:])
    assert about["counts"]["answered"] == 9
    with pytest.raises(SystemExit, match=r"--count 4: must be at most 3.*labels\.csv"):
        acquire.main(["--count", "4"])


@pytest.mark.parametrize("name", ["margin", "entropy", "badge"])
def test_a_strategy_that_needs_a_model_says_so(name: str):
    with pytest.raises(SystemExit, match=rf"^acquire: --strategy {name} .*dvc repro train"):
        acquire.main(["--strategy", name, "--count", "2"])
    assert not FOLDER.exists()


def test_a_model_of_other_data_is_rejected_and_the_earlier_queue_stays():
    acquire.main(["--count", "2"])
    before = (FOLDER / "queue.csv").read_bytes()
    train()
    path = Path("models/trained/model.json")
    path.write_text(path.read_text().replace(arrays.read_manifest("data/arrays").sha256, "0" * 64))
    with pytest.raises(SystemExit, match=r"^acquire: models/trained was trained on other data"):
        acquire.main(["--count", "2"])
    assert (FOLDER / "queue.csv").read_bytes() == before


def test_features_that_are_missing_are_named():
    with pytest.raises(SystemExit, match=r"models/trained/model\.json is missing"):
        acquire.main(["--features", "trained", "--count", "2"])
    with pytest.raises(SystemExit, match=r"model\.pretrained = none"):
        acquire.main(["--features", "pretrained", "--count", "2"])


def test_no_unlabelled_examples_and_too_many_are_reported():
    with pytest.raises(SystemExit, match=r"^acquire: --count 13: must be at most 12"):
        acquire.main(["--count", "13"])
    for file in Path("data/arrays").glob("unlabelled.*"):
        file.unlink()
    with pytest.raises(SystemExit, match=r"^acquire: Photos has no unlabelled examples"):
        acquire.main([])


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--seed", "-1"], ["--strategy", "best"]])
def test_invalid_options_are_rejected(arguments: list[str]):
    with pytest.raises(SystemExit, match=r"^2$"):
        acquire.main(arguments)


def test_auto_depends_on_the_model_and_the_labels():
    few, many = acquire.FEW * 3 - 1, acquire.FEW * 3
    assert [acquire.strategy("auto", has, labels, 3) for has, labels in ((True, few), (True, many), (False, many))] == [
        acquire.COLD,
        acquire.WARM,
        acquire.COLD,
    ]
    assert acquire.strategy("badge", False, 0, 3) == "badge"


def test_near_duplicates_are_never_twice_in_a_batch():
    random = np.random.default_rng(0)
    base = random.integers(256, size=(6, 7, 7, 1), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    images = np.concatenate([base, np.minimum(base * 0.9 + 12, 255).astype(np.uint8), base[:, :, ::-1]])
    choices = [Choice(index, None, "") for index in (0, 6, 1, 12, 7, 2, 3)]

    def distinct(flip: bool) -> Callable[[np.ndarray], np.ndarray]:
        return lambda indices: batch.distinct_images(images[indices], flip)

    found, skipped = batch.fill(iter(choices), 3, distinct(flip=True))
    assert ([choice.index for choice in found], skipped) == ([0, 1, 2], 3)
    found, skipped = batch.fill(iter(choices), 3, distinct(flip=False))
    assert ([choice.index for choice in found], skipped) == ([0, 1, 12], 1)
    found, skipped = batch.fill(iter(choices), 7, distinct(flip=True))
    assert ([choice.index for choice in found], skipped) == ([0, 1, 2, 3], 3)


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, "aaaaaa"), (0.28, "abaaab"), (0.5, "abbaab"), (1.0, "bbbaaa")]
)
def test_choices_are_interleaved_by_their_fraction(fraction: float, expected: str):
    first, second = ([Choice(number, None, name) for number in range(9)] for name in "ab")
    found = list(batch.interleaved(iter(first[:6]), iter(second[:3]), fraction))
    assert len(found) == 9 and {(choice.reason, choice.index) for choice in found} == {
        *(("a", number) for number in range(6)),
        *(("b", number) for number in range(3)),
    }
    assert "".join(choice.reason for choice in found[:6]) == expected


@pytest.mark.parametrize(("count", "shape", "size"), [(3, (8, 8, 3), (540, 230)), (23, (4, 8, 1), (1260, 365))])
def test_a_sheet_is_as_large_as_its_images_need(count: int, shape: tuple[int, ...], size: tuple[int, int]):
    table = pd.DataFrame([(number, "", 0.0, "$a_", "") for number in range(count)], columns=list(queue.COLUMNS))
    sheet = queue.sheet(np.zeros((count, *shape), np.uint8), table)
    assert tuple((sheet.get_size_inches() * sheet.dpi).round().astype(int)) == size
