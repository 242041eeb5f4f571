import json
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from darkroom import seeds
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.review import lock
from darkroom.review.revision import WORKSPACE
from tests import reviewed
from tests.commands import toys

ACCURACIES = {1: 0.9, 2: 0.94, 3: 0.92, 10: 0.5}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a current dvc.lock, as the current folder."""
    monkeypatch.chdir(tmp_path)
    reviewed.write(tmp_path, [True, False])
    reviewed.commit(tmp_path, "first")
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that were trained, by a stub instead of a training."""
    found: list[int] = []

    def train(seed: int) -> dict[str, float]:
        found.append(seed)
        return {"val_accuracy": 0.95, "accuracy": ACCURACIES[seed]}

    monkeypatch.setattr(seeds, "train", train)
    monkeypatch.setattr(arrays, "read_manifest", lambda _: SimpleNamespace(kind="image"))
    return found


def result(path: str) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_each_seed_leaves_a_result_and_all_of_them_a_summary(trained: list[int], capsys: pytest.CaptureFixture):
    seeds.main(["1", "3", "2"])
    recipe = lock.recipe(WORKSPACE)
    assert trained == [1, 3, 2]
    assert result("metrics/seeds/3.json") == {"val_accuracy": 0.95, "accuracy": 0.92, "recipe": recipe}
    accuracies = [0.9, 0.94, 0.92]
    assert result("metrics/seeds.json") == {
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies),
        "n": 3,
        "recipe": recipe,
    }
    assert "92.00% ± 2.00% (n = 3)" in capsys.readouterr().out


def test_hits_are_called_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(seeds, "train", lambda seed: {"val_accuracy": 0.1, "hr_at_10": 0.25})
    monkeypatch.setattr(arrays, "read_manifest", lambda _: SimpleNamespace(kind="history"))
    for seen_items in ("leave_out", "keep"):
        monkeypatch.setattr(seeds.params, "load", lambda seen=seen_items, **_: SimpleNamespace(seen_items=seen))
        seeds.main(["1"])
        first, last = capsys.readouterr().out.splitlines()
        assert "test HR@10 25.00%" in first and "test HR@10 25.00%" in last
        summary = result("metrics/seeds.json")
        assert (summary["mean"], summary["seen_items"]) == (0.25, seen_items)
        assert result("metrics/seeds/1.json")["seen_items"] == seen_items


@pytest.mark.parametrize("edited", ["darkroom/train/net.py", "params.yaml"])
def test_nothing_is_kept_if_the_recipe_changes_meanwhile(
    monkeypatch: pytest.MonkeyPatch, trained: list[int], edited: str
):
    train = seeds.train

    def slow(seed: int) -> dict[str, float]:
        if seed == 2:
            text = Path(edited).read_text()
            Path(edited).write_text(text.replace("0.1", "0.2") if edited == "params.yaml" else f"{text}# edited\n")
        return train(seed)

    monkeypatch.setattr(seeds, "train", slow)
    with pytest.raises(SystemExit, match=r"^seeds: "):
        seeds.main(["1", "2", "3"])
    assert trained == [1, 2] and [path.name for path in Path("metrics/seeds").iterdir()] == ["1.json"]


def test_one_seed_has_no_deviation(trained: list[int]):
    seeds.main(["2"])
    assert result("metrics/seeds.json") == {"mean": 0.94, "std": None, "n": 1, "recipe": lock.recipe(WORKSPACE)}


def test_a_seed_with_a_current_result_is_not_trained_again(trained: list[int]):
    seeds.main(["1", "2"])
    seeds.main(["2", "10"])
    assert trained == [1, 2, 10]
    assert result("metrics/seeds.json")["n"] == 3


@pytest.mark.parametrize("broken", ["", "{", "[]", "null", '{"accuracy": 0.1}'])
def test_a_broken_result_is_replaced(trained: list[int], broken: str):
    Path("metrics/seeds").mkdir()
    Path("metrics/seeds/1.json").write_text(broken)
    seeds.main(["1"])
    assert (trained, result("metrics/seeds.json")["mean"]) == ([1], 0.9)


def test_results_of_another_recipe_are_trained_again_or_do_not_count(trained: list[int], project: Path):
    seeds.main(["1", "2"])
    before = lock.recipe(WORKSPACE)
    reviewed.write(project, [True, False], lr=0.2)
    seeds.main(["2"])
    assert trained == [1, 2, 2]
    assert result("metrics/seeds/1.json")["recipe"] == before
    assert result("metrics/seeds.json") == {"mean": 0.94, "std": None, "n": 1, "recipe": lock.recipe(WORKSPACE)}


def test_results_hold_for_another_seed_of_the_pipeline(trained: list[int], project: Path):
    seeds.main(["1"])
    values = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**values, "seed": 7}))
    reviewed.lock(project)
    seeds.main(["1", "2"])
    assert trained == [1, 2]


def test_a_lock_that_is_not_current_is_rejected_before_a_training(trained: list[int]):
    Path("darkroom/train/net.py").write_text("# edited\n")
    with pytest.raises(SystemExit, match=r"^seeds: dvc\.lock"):
        seeds.main(["1"])
    assert not trained and not Path("metrics/seeds").exists()


def test_a_failed_training_keeps_earlier_results(trained: list[int], monkeypatch: pytest.MonkeyPatch):
    seeds.main(["1"])
    summary = result("metrics/seeds.json")

    def fail(seed: int) -> dict[str, float]:
        raise DarkroomError("The training diverged")

    monkeypatch.setattr(seeds, "train", fail)
    with pytest.raises(SystemExit, match="diverged"):
        seeds.main(["1", "2"])
    assert result("metrics/seeds.json") == summary
    assert [path.name for path in Path("metrics/seeds").iterdir()] == ["1.json"]


@pytest.mark.parametrize("arguments", [[], ["-1"], [str(2**32)], ["1.5"], ["one"], ["1", "01"]])
def test_invalid_seeds_are_rejected(trained: list[int], arguments: list[str]):
    with pytest.raises(SystemExit, match=r"^2$"):
        seeds.main(arguments)
    assert not trained


def test_a_training_is_reproducible_and_measured_on_the_test_set():
    """The test set has the other labels: a network that learned the training set predicts none of them."""
    test = toys.split(10, "test")
    toys.write(
        {"train": toys.split(240, "train"), "val": toys.split(20, "val"), "test": replace(test, labels=1 - test.labels)}
    )
    assert seeds.train(5) == seeds.train(5) == {"val_accuracy": 1.0, "accuracy": 0.0}
