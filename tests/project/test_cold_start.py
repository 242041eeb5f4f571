"""From images without any label to a trained model: the stages and commands that a user runs, one after the other."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from darkroom.acquire import __main__ as acquire
from darkroom.core import arrays, params
from darkroom.core.errors import DarkroomError
from darkroom.crossval import __main__ as crossval
from darkroom.datasets.answers import FILE
from darkroom.label import __main__ as label
from darkroom.models import checkpoints
from darkroom.models.config import ModelConfig
from darkroom.models.registry import build
from darkroom.weights import pretrained
from stages import fetch, preprocess, train
from tests.repository import change, copy_project
from tests.weights.test_pretrained import DESCRIBED

CLASSES = ("top", "middle", "bottom")
PHOTOS = Path("data/datasets/photos")


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project with 90 unlabelled images of three classes, which dataset.yaml lists, as the current folder."""
    copy_project(tmp_path)
    fast = {"epochs": 1, "min_steps": 5, "device": "cpu", "precision": "fp32", "threads": 1}
    change(tmp_path, data={"dataset": "photos"}, model={"name": "sprint"}, train=fast)
    monkeypatch.chdir(tmp_path)
    (PHOTOS / "unlabelled").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(90):
        pixels = random.integers(0, 100, (16, 16, 3), dtype=np.uint8)
        pixels[2 + 4 * (number % 3) : 5 + 4 * (number % 3), 3:13] += 150
        Image.fromarray(pixels).save(PHOTOS / "unlabelled" / f"{number:03}.png")
    (PHOTOS / "dataset.yaml").write_text(f"classes: [{', '.join(CLASSES)}]")
    pretrained.write(pretrained.FOLDER, None)


def answer_all(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Label what the page shows by the number in the name; return the ids in that order."""
    shown = []

    def serve(session: label.Session, *_: object) -> None:
        while session.state()["example"]:
            name = session._shown(session.turn).id
            shown.append(name)
            session.answer(session.turn, CLASSES[int(Path(name).stem) % 3])

    monkeypatch.setattr(label, "_serve", serve)
    label.main(["--by", "anna"])
    return shown


@pytest.mark.usefixtures("_project")
def test_images_without_any_label_become_a_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    fetch.main()
    preprocess.main()
    assert "python -m darkroom.acquire" in capsys.readouterr().out
    assert arrays.read_manifest("data/arrays").counts == {"train": 0, "val": 0, "test": 0, "unlabelled": 90}
    with pytest.raises(DarkroomError, match=r"no example has a label yet.*darkroom\.label.*dvc repro") as caught:
        train.main()
    assert "\n" not in str(caught.value)
    with pytest.raises(SystemExit, match=r"^crossval: .*no example has a label yet"):
        crossval.main([])

    acquire.main(["--count", "40"])
    with Path(".darkroom/queue/queue.csv").open(encoding="utf-8") as file:
        queue = list(csv.DictReader(file))
    at_random = [row["id"] for row in queue if row["reason"] == acquire.HELD_OUT]
    assert len(at_random) == round(0.28 * 40)
    shown = answer_all(monkeypatch)
    assert shown == [row["id"] for row in queue]
    assert len((PHOTOS / FILE).read_text().splitlines()) == 41

    preprocess.main()
    counts = arrays.read_manifest("data/arrays").counts
    assert counts["train"] == 40 - len(at_random) and counts["val"] + counts["test"] == len(at_random)
    held_out = {*arrays.read_split("data/arrays", "val").ids, *arrays.read_split("data/arrays", "test").ids}
    assert held_out == set(at_random)
    train.main()
    assert checkpoints.load("models/trained")[1].classes == CLASSES

    acquire.main(["--count", "10", "--strategy", "margin"])
    about = json.loads(Path(".darkroom/queue/queue.json").read_text(encoding="utf-8"))
    assert about["counts"]["held_out"] == 3
    predicted = {item["id"]: item["predicted"] for item in about["items"]}
    drawn = {item["id"] for item in about["items"] if item["reason"] == acquire.HELD_OUT}
    assert all((predicted[name] == "") == (name in drawn) for name in predicted)
    assert not set(predicted) & set(shown)


@pytest.mark.usefixtures("_project")
def test_the_first_examples_are_chosen_by_the_features_of_pretrained_weights():
    torch.manual_seed(0)
    arguments = params.load(model=ModelConfig).sprint.model_dump()
    weights = save(build("sprint", arguments, (16, 16, 3), 5).state_dict())
    known = replace(DESCRIBED, family="sprint", mean=(0.5,) * 3, std=(0.25,) * 3)
    pretrained.write(pretrained.FOLDER, known, weights)
    change(Path(), model={"pretrained": "big"})
    fetch.main()
    preprocess.main()
    acquire.main(["--count", "10"])
    about = json.loads(Path(".darkroom/queue/queue.json").read_text())
    assert (about["features"], about["strategy"]) == ("pretrained", "typiclust")
    assert about["counts"] == {
        **{"labelled": 0, "unlabelled": 90, "answered": 0, "chosen": 10},
        **{"near_duplicates_left_out": 0, "held_out": 3},
    }


@pytest.mark.usefixtures("_project")
def test_a_class_without_an_example_is_found_among_the_unlabelled_images(capsys: pytest.CaptureFixture):
    for number in range(60):
        folder = PHOTOS / CLASSES[number % 3]
        if number % 3 < 2:
            folder.mkdir(exist_ok=True)
            (PHOTOS / "unlabelled" / f"{number:03}.png").rename(folder / f"{number:03}.png")
    fetch.main()
    preprocess.main()
    assert "classes without a labelled training example: bottom" in capsys.readouterr().out
    acquire.main(["--count", "20"])
    assert json.loads(Path(".darkroom/queue/queue.json").read_text())["counts"]["labelled"] == 40
    with pytest.raises(DarkroomError, match="bottom"):
        train.main()


def test_texts_without_any_label_become_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    copy_project(tmp_path)
    small = {"embed_dim": 8, "channels": 8, "dropout": 0.0}
    change(tmp_path, data={"dataset": "questions"}, model={"name": "text_cnn", "text_cnn": small})
    change(tmp_path, train={"epochs": 1, "min_steps": 5, "device": "cpu", "threads": 1})
    monkeypatch.chdir(tmp_path)
    mine, words, random = (
        Path("data/datasets/questions"),
        ["card", "pin", "rate", "fee", "app", "visa", "atm"],
        np.random.default_rng(0),
    )
    mine.mkdir(parents=True)
    (mine / "dataset.yaml").write_text("kind: text\nclasses: [top, middle, bottom]\n")
    rows = [
        f"{number:03},{CLASSES[number % 3]} {' '.join(random.permutation(words)[:4])} {number}" for number in range(90)
    ]
    (mine / "unlabelled.csv").write_text("\n".join(["id,text", *rows]) + "\n")
    pretrained.write(pretrained.FOLDER, None)
    fetch.main()
    preprocess.main()
    assert "python -m darkroom.acquire" in capsys.readouterr().out
    assert arrays.read_manifest("data/arrays").counts == {"train": 0, "val": 0, "test": 0, "unlabelled": 90}
    acquire.main(["--count", "40"])
    about = json.loads(Path(".darkroom/queue/queue.json").read_text(encoding="utf-8"))
    assert (about["features"], about["strategy"], about["counts"]["held_out"]) == ("texts", "typiclust", 11)
    monkeypatch.setattr(f"{__name__}.PHOTOS", mine)
    assert len(answer_all(monkeypatch)) == 40
    preprocess.main()
    counts = arrays.read_manifest("data/arrays").counts
    assert counts["train"] == 29 and counts["val"] + counts["test"] == 11
    train.main()
    assert checkpoints.load("models/trained")[1].classes == CLASSES
