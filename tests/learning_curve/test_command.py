import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darkroom.core.errors import DarkroomError
from darkroom.learning_curve import __main__ as learning_curve
from darkroom.learning_curve import trainings
from darkroom.learning_curve.trainings import Recipe, Training, nested, shuffled
from tests.commands import toys
from tests.repository import change

SUMMARY, TABLE, FIGURE = learning_curve.SUMMARY, learning_curve.TABLE, learning_curve.FIGURE


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with toy data as the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learning_curve.freshness, "notice", lambda: "")
    toys.write({name: toys.split(size, name) for name, size in (("train", 96), ("val", 40), ("test", 6))})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trainings that were run, by a stub: errors fall as the labels grow."""
    found: list[str] = []

    def run(self: Recipe, training: Training) -> int:
        found.append(f"{training.fraction} {training.seed}")
        return 40 // (1 + len(training.indices) // 12)

    monkeypatch.setattr(Recipe, "run", run)
    return found


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 99), st.booleans())
def test_parts_are_nested_stratified_and_repeat(labels: list[int], seed: int, grouped: bool):
    ids, values = np.array([f"{number}.png" for number in range(len(labels))]), np.array(labels)
    groups = np.array([f"p{number // 3}" if number % 2 else "" for number in range(len(labels))]) if grouped else None
    order = shuffled(ids, groups, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    parts = [nested(values, order, Fraction(1, 2**power)) for power in (3, 2, 1, 0)]
    for smaller, larger in pairwise(parts):
        assert set(smaller.tolist()) <= set(larger.tolist())
    assert parts[-1].tolist() == list(range(len(labels)))
    assert {values[index] for index in parts[0].tolist()} == set(labels)
    counts = np.bincount(values[parts[2]], minlength=4)
    assert all(abs(counts[label] - labels.count(label) / 2) <= 1 for label in set(labels))


def test_the_choice_depends_on_ids_not_on_their_order():
    ids, labels = np.array(["a", "b", "c", "d", "e", "f"]), np.array([0, 1, 0, 1, 0, 1])
    first = ids[nested(labels, shuffled(ids, None, 1), Fraction(1, 3))]
    second = ids[::-1][nested(labels[::-1], shuffled(ids[::-1], None, 1), Fraction(1, 3))]
    assert set(first.tolist()) == set(second.tolist())


def test_groups_stay_together():
    ids, groups = np.array(list("abcdefgh")), np.array(list("xyxyxyxy"))
    order = shuffled(ids, groups, 1)
    assert len(set(groups[order[:4]].tolist())) == 1


def test_a_curve_is_written_and_goes_on_after_an_interruption(trained: list[str], capsys: pytest.CaptureFixture):
    arguments = ["--fractions", "1/4", "1/2", "1", "--seeds", "2"]
    learning_curve.main(arguments)
    assert trained == ["1/4 1", "1/4 2", "1/2 1", "1/2 2", "1 1", "1 2"]
    summary, table = json.loads(SUMMARY.read_text()), pd.read_csv(TABLE)
    assert table["labels"].tolist() == [24, 24, 48, 48, 96, 96] and table["fraction"].tolist()[:2] == ["1/4", "1/4"]
    assert summary["measured"]["24"] == {"mean": pytest.approx(1 - 13 / 40), "std": 0.0, "n": 2}
    assert [point["labels"] for point in summary["expected"].values()] == [96, 192, 384, 960]
    assert all(0 <= point["low"] <= point["high"] <= 1 for point in summary["expected"].values())
    assert summary["validation_examples"] == 40 and summary["recipe"] is None
    assert summary["data_md5"].endswith(".dir")
    with Image.open(FIGURE) as image:
        assert image.width > 300
    said = capsys.readouterr().out
    assert "10 times the labels (960)" in said and "all labels" not in said
    before, kept = SUMMARY.read_bytes(), sorted(trainings.FOLDER.iterdir())
    kept[0].unlink()
    kept[1].write_text("{")
    learning_curve.main(arguments)
    assert len(trained) == 8 and SUMMARY.read_bytes() == before


def test_other_parameters_train_again_and_more_fractions_only_what_is_new(trained: list[str]):
    learning_curve.main(["--fractions", "1/4", "1/2", "1", "--seeds", "1"])
    learning_curve.main(["--fractions", "1/8", "1/4", "1/2", "1", "--seeds", "1"])
    assert len(trained) == 4
    change(Path(), train={"lr": 0.03})
    learning_curve.main(["--fractions", "1/4", "1/2", "1", "--seeds", "1"])
    assert len(trained) == 7


def test_parts_of_the_labels_are_extrapolated_to_multiples_of_all(trained: list[str], capsys: pytest.CaptureFixture):
    learning_curve.main(["--fractions", "1/8", "1/4", "1/2", "--seeds", "1"])
    summary, said = json.loads(SUMMARY.read_text()), capsys.readouterr().out
    assert [point["labels"] for point in summary["expected"].values()] == [96, 192, 384, 960]
    assert "all labels (96)" in said and "2 times the labels (192)" in said


def test_a_failed_training_keeps_the_others(trained: list[str], monkeypatch: pytest.MonkeyPatch):
    run = Recipe.run

    def fail(self: Recipe, training: Training) -> int:
        if training.fraction == 1:
            raise DarkroomError(f"with {training}: diverged")
        return run(self, training)

    monkeypatch.setattr(Recipe, "run", fail)
    with pytest.raises(SystemExit, match=r"^learning_curve: with 1 of the labels \(96\), seed 1: diverged"):
        learning_curve.main(["--seeds", "1"])
    assert len(list(trainings.FOLDER.iterdir())) == len(trained) == 4 and not SUMMARY.exists()


def test_trainings_are_real_and_leave_the_models_alone():
    change(Path(), train={"distill": {"teacher": "unknown", "weight": 0.9, "temperature": 2.0}})
    learning_curve.main(["--fractions", "1/4", "1/2", "1", "--seeds", "1"])
    summary = json.loads(SUMMARY.read_text())
    assert summary["measured"]["96"]["mean"] > 0.9
    assert not Path("models").exists() and not [path for path in Path("data").iterdir() if path.name != "arrays"]


def test_too_few_examples_are_reported():
    toys.write({name: toys.split(4, name) for name in ("train", "val", "test")})
    with pytest.raises(SystemExit, match=r"only 4 examples.*fewer than 3 different"):
        learning_curve.main([])


@pytest.mark.parametrize(
    "arguments",
    [["--fractions", "1/2", "1"], ["--fractions", "0", "1/2", "1"], ["--fractions", "1/2", "1", "2"], ["--seeds", "0"]],
)
def test_invalid_options_are_rejected(arguments: list[str]):
    with pytest.raises(SystemExit, match=r"^2$"):
        learning_curve.main(arguments)
