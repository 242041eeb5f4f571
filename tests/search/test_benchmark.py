"""The benchmark of the search, on recorded trainings whose best one is known."""

import math

import pytest

from benchmarks import search as benchmark
from darkroom.core import params
from darkroom.search import description, space
from tests.repository import ROOT

ENTRIES = {"train.lr": {"low": 0.001, "high": 1.0, "log": True}, "train.optimizer": ["adamw", "sgd"]}
PARAMETERS = {name: description._parameter(entry, "", name) for name, entry in ENTRIES.items()}


def table(count: int) -> tuple[list[benchmark.Training], space.Space]:
    """Trainings of 4 s: the best learning rate is 0.05."""
    trainings = []
    for index in range(count):
        sample = {"train.lr": 0.001 * 1000 ** (index / (count - 1)), "train.optimizer": ("adamw", "sgd")[index % 2]}
        final = 0.9 - 0.1 * abs(math.log10(sample["train.lr"] / 0.05))
        trainings.append(benchmark.Training(sample, [final - 0.1 / epoch for epoch in range(1, 5)], 1.0))
    return trainings, space.build(PARAMETERS, params.read(ROOT / "params.yaml"))


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_search_of_all_recorded_trainings_finds_the_best_one(kind: str):
    trainings, searched = table(12)
    history = benchmark.search(trainings, searched, kind, False, 0, 1000.0)
    assert history[-1] == (48.0, max(one.accuracies[-1] for one in trainings))
    assert [spent for spent, _ in history] == [4.0 * count for count in range(1, 13)]
    assert [best for _, best in history] == sorted(best for _, best in history)


def test_pruning_tries_more_within_the_budget_and_no_training_counts_that_ends_later():
    trainings, searched = table(30)
    whole = benchmark.search(trainings, searched, "random", False, 1, 42.0)
    pruned = benchmark.search(trainings, searched, "random", True, 1, 42.0)
    assert len(whole) == 10 and whole[-1][0] == 40.0
    assert len(pruned) > 10 and pruned[-1][0] <= 42.0


def test_the_distance_follows_the_scale_of_the_range():
    low, high = ({"train.lr": value, "train.optimizer": "sgd"} for value in (0.001, 1.0))
    assert benchmark.distance(low, high, PARAMETERS) == pytest.approx(1.0)
    assert benchmark.distance(low, {**low, "train.lr": 0.01}, PARAMETERS) == pytest.approx(1 / 9)
    assert benchmark.distance(low, {**low, "train.optimizer": "adamw"}, PARAMETERS) == 1.0
    assert benchmark.distance({}, low, PARAMETERS) == 2.0


def test_the_saved_seconds_are_those_until_the_other_search_had_its_best():
    reference = [[(4.0, 0.5), (8.0, 0.9), (12.0, 0.9)], [(4.0, 0.5)]]
    found = [[(2.0, 0.4), (4.0, 0.95)], [(4.0, 0.4)]]
    assert "in 1 of 2 repeats" in benchmark.saved("a", found, reference, 12.0)
    assert "a median of 50%" in benchmark.saved("a", found[:1], reference[:1], 12.0)
    cells = benchmark.row("a", found, reference, 12.0)
    assert cells[3] == "1, 0, 1" and cells[4] == "1.5"
