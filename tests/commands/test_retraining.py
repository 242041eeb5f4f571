from pathlib import Path

import numpy as np
import pytest

from benchmarks import retraining
from benchmarks.retraining import GROUP, Trainings
from darkroom.review import significance
from tests.commands import toys


def trainings(accuracy: float, shift: float = 0.0, seeds: int = 12, n: int = 2000, seed: int = 0) -> Trainings:
    """Trainings whose predictions flip independently; the accuracy of each is also moved by `shift` times a normal."""
    random = np.random.default_rng(seed)
    often = accuracy + shift * random.standard_normal((seeds, 1))
    return Trainings(random.random((seeds, n)) < often, 50_000)


def test_flips_are_the_mean_over_all_pairs():
    correct = np.array([[True, True, False], [True, False, False], [False, False, False]])
    assert Trainings(correct, 1).flips == pytest.approx((1 + 2 + 1) / 3 / 3)


def test_the_deviation_beyond_flips_is_that_of_the_common_shift():
    assert trainings(0.9, 0.02, seeds=200).std_beyond_flips == pytest.approx(0.02, abs=0.003)
    assert trainings(0.9, seeds=200).std_beyond_flips < 0.004


def test_the_same_recipe_is_rarely_called_different_and_a_worse_one_always_with_seeds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retraining, "DRAWS", 50)
    random, same = np.random.default_rng(0), trainings(0.9)
    calls = retraining.false_calls(same, random)
    assert {kind: total for kind, (_, total) in calls.items()} == {
        "models": 66,
        "prior": 66,
        "earlier": 66,
        "seeds": 50,
    }
    assert max(called / total for called, total in calls.values()) < 0.2
    assert retraining.found_with_seeds(same, trainings(0.8, seed=1), random) == (50, 50)
    assert retraining.found_with_pairs(same, trainings(0.5, seed=1)) == (144, 144)
    assert len(retraining.row(same, random)) == len(retraining.COLUMNS)


def test_no_seed_is_on_both_sides_of_the_same_recipe(monkeypatch: pytest.MonkeyPatch):
    same, seen = trainings(0.9, seeds=8), []

    def recipe(old: np.ndarray, new: np.ndarray, prior: float, seeds: tuple) -> significance.Difference:
        seen.append(sum(side.n * side.mean for side in seeds))
        return significance.Difference(0, 0, 0, 1)

    monkeypatch.setattr(significance, "recipe", recipe)
    retraining.found_with_seeds(same, same, np.random.default_rng(0))
    assert seen == pytest.approx([same.accuracies.sum()] * retraining.DRAWS)


def test_trainings_are_read_in_the_order_of_their_seeds(tmp_path: Path):
    for seed in range(1, 2 * GROUP + 1):
        predicted = np.arange(2 * GROUP) < seed
        np.savez(tmp_path / f"{seed}.npz", predicted=predicted, labels=np.ones(2 * GROUP, bool), examples=7)
    found = retraining.read(tmp_path)
    assert found.accuracies.tolist() == pytest.approx(np.arange(1, 2 * GROUP + 1) / (2 * GROUP))
    assert found.examples == 7
    for seed in range(1, 6):
        (tmp_path / f"{seed}.npz").unlink()
    with pytest.raises(SystemExit, match="holds 5 trainings"):
        retraining.read(tmp_path)


def test_a_training_writes_its_test_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    toys.write({name: toys.split(n, name) for name, n in (("train", 96), ("val", 24), ("test", 40))})
    retraining.train(1, {"train.epochs": 2.0}, 48, tmp_path / "made/1.npz")
    with np.load(tmp_path / "made/1.npz") as found:
        assert found["labels"].tolist() == [0, 1] * 20 and found["examples"] == 48
        assert found["predicted"].shape == found["label_probability"].shape == (40,)
        confident = found["label_probability"] > 0.5
        assert (confident == (found["predicted"] == found["labels"])).all()


def test_trainings_that_are_there_are_reported_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(retraining, "DRAWS", 20)
    for name, accuracy in (("good", 0.9), ("bad", 0.6)):
        (tmp_path / name).mkdir()
        for seed, correct in enumerate(trainings(accuracy, seeds=6).correct, 1):
            labels = np.ones(len(correct), bool)
            np.savez(tmp_path / name / f"{seed}.npz", predicted=correct, labels=labels, examples=50_000)
    arguments = [str(tmp_path / "good"), "--seeds", "6", "--against", str(tmp_path / "bad")]
    monkeypatch.setattr("sys.argv", ["retraining", *arguments])
    retraining.main()
    printed = capsys.readouterr().out
    assert "50,000 training images, 2,000 test images" in printed
    assert "| two trainings | 100.0% of 36 |" in printed and "seeds each | 100.0% of 20 |" in printed
