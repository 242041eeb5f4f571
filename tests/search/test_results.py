"""The numbers and sentences of a search, on cases with exact answers."""

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from darkroom.export.config import ExportConfig, Int8Config
from darkroom.models import checkpoints
from darkroom.search import exported, results, words
from darkroom.search.description import Choices, Range, Search
from darkroom.search.importance import importances
from darkroom.search.measure import ACCURACY, LOSS
from darkroom.search.space import Space
from tests import trainings


def row(trial: int, cost: float, accuracy: float) -> dict:
    return {"trial": trial, "parameters": cost, "estimate": accuracy}


def test_the_front_has_no_row_that_a_cheaper_one_reaches():
    rows = [row(0, 4, 0.9), row(1, 1, 0.5), row(2, 2, 0.4), row(3, 8, 0.9), row(4, 2, 0.7), {"trial": 5}]
    assert [one["trial"] for one in results.pareto(rows, "parameters")] == [1, 4, 0]


def test_the_knee_is_farthest_above_the_line():
    rows = [row(0, 1, 0.5), row(1, 2, 0.6), row(2, 4, 0.85), row(3, 8, 0.88), row(4, 16, 0.9)]
    assert results.knee(rows, "parameters") == 2
    assert results.knee(rows[:2], "parameters") is None  # two ends and nothing between
    straight = [row(index, 2.0**index, 0.5 + 0.1 * index) for index in range(4)]
    assert results.knee(straight, "parameters") is None


def test_the_accuracy_of_the_int8_model_goes_with_its_latency():
    one = {**row(0, 1, 0.9), "int8_change": -0.02}
    assert results.estimate(one, "latency_int8_ms") == pytest.approx(0.88)
    assert results.estimate(one, "latency_ms") == 0.9


def test_saved_seconds_are_those_of_the_epochs_not_trained():
    def trial(state: TrialState, epochs: int, seconds: float) -> optuna.trial.FrozenTrial:
        attributes = {"records": [{}] * epochs, "training_seconds": seconds}
        value = 0.5 if state == TrialState.COMPLETE else None
        return create_trial(state=state, value=value, user_attrs=attributes)

    complete = [trial(TrialState.COMPLETE, 8, 8.0)]
    assert results.saved([trial(TrialState.PRUNED, 1, 1.0), trial(TrialState.PRUNED, 2, 4.0)], complete) == 7 + 12
    assert results.saved([trial(TrialState.PRUNED, 1, 1.0)], []) is None


def finals_of(*trainings: tuple[int, int, float | None]) -> optuna.Study:
    """A study of finalists: trial, seed and score; without a score it failed."""
    finals, whole = optuna.create_study(direction="maximize"), IntDistribution(0, 99)
    for number, seed, score in trainings:
        state = TrialState.FAIL if score is None else TrialState.COMPLETE
        attributes = {"reason": "diverged"} if score is None else {}
        pair = {"params": {"trial": number, "seed": seed}, "distributions": {"trial": whole, "seed": whole}}
        finals.add_trial(create_trial(state=state, value=score, user_attrs=attributes, **pair))
    return finals


def won(finals: optuna.Study) -> tuple[int | None, dict]:
    """The winner of two finalists with the seeds 1, 2 and 3, and their rows."""
    study = optuna.create_study(direction="maximize")
    for score in (0.9, 0.8):
        study.add_trial(create_trial(value=score))
    search = Search(trials=2, finalists=2, seeds=[1, 2, 3], parameters={"train.lr": [0.1, 0.2]})
    again = results.retrained(study, finals, search.seeds, ACCURACY)
    return results.winner(again, study, finals, search), again


def test_a_finalist_without_all_seeds_does_not_win():
    complete = [(0, seed, 0.7 + seed / 100) for seed in (1, 2, 3)]
    assert won(finals_of(*complete, (1, 1, 0.9), (1, 2, 0.9)))[0] is None  # seed 3 is not trained yet
    finals = finals_of(*complete, (1, 1, 0.9), (1, 2, 0.9), (1, 3, None))
    number, again = won(finals)
    assert number == 0 and again[1]["failed"] == [3] and again[0]["failed"] == []
    assert won(finals_of(*complete, *((1, seed, 0.9) for seed in (1, 2, 3))))[0] == 1
    finals.enqueue_trial({"trial": 1, "seed": 3})
    finals.ask({"trial": IntDistribution(0, 99), "seed": IntDistribution(0, 99)})
    assert won(finals)[0] is None  # another process repeats it


@pytest.mark.parametrize("correct", range(31))
def test_the_mean_of_equal_scores_is_in_their_interval(correct: int):
    for seeds in range(2, 8):  # the sum of six times 28 / 30 is rounded
        finals = finals_of(*((0, seed, correct / 30) for seed in range(1, seeds + 1)))
        study = optuna.create_study(direction="maximize")
        study.add_trial(create_trial(value=0.9))
        row = results.retrained(study, finals, list(range(1, seeds + 1)), ACCURACY)[0]
        assert row["low"] <= row["mean"] <= row["high"]


def test_a_failed_seed_is_told():
    _, again = won(finals_of(*((0, seed, 0.7) for seed in (1, 2, 3)), (1, 1, 0.9), (1, 2, 0.9), (1, 3, None)))
    said = list(
        words._winner(
            {"winner": 0, "finalists": list(again.values()), "rows": [], "cost": "none", "measure": ACCURACY.name}
        )
    )
    assert any("Trial 1 cannot win" in sentence and "3" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Range(low=0.1, high=9, log=True), True),
        (Range(low=0.1, high=9), False),
        (Choices(choices=[4, 64]), True),
        (Choices(choices=[4, 8]), False),
        (Choices(choices=[0, 64]), False),
        (Choices(choices=["a", 64]), False),
    ],
)
def test_the_axis_of_a_parameter_is_logarithmic_if_it_is_searched_so(entry: Range | Choices, expected: bool):
    assert results._is_logarithmic(entry) is expected


def study_of(count: int) -> tuple[optuna.Study, Space]:
    """Trials whose accuracy depends on `lr` alone; `dropout` is searched only with `name` = b."""
    random, study = np.random.default_rng(0), optuna.create_study(direction="maximize")
    real = FloatDistribution(0, 1)
    kinds = {"lr": real, "other": real, "name": CategoricalDistribution(["a", "b"]), "dropout": real}
    for index in range(count):
        sample = {"lr": random.random(), "other": random.random(), "name": "ab"[index % 2], "dropout": random.random()}
        if sample["name"] == "a":
            del sample["dropout"]
        known = {"params": sample, "distributions": {name: kinds[name] for name in sample}}
        value = round(0.9 - abs(sample["lr"] - 0.3), 4)
        if index % 4:
            study.add_trial(create_trial(value=value, **known))
        else:
            attributes = {"records": [{"val_accuracy": value}]}
            study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=attributes, **known))
    conditions = {"lr": {}, "other": {}, "name": {}, "dropout": {"name": ["b"]}}
    return study, Space(dict.fromkeys(kinds), conditions, {})


def test_the_parameter_that_matters_is_told_from_those_that_do_not():
    found = {one.name: one for one in importances(*study_of(60), ACCURACY)}
    assert next(iter(found)) == "lr" and found["lr"].matters and found["lr"].value > 0.7
    assert [found[name].matters for name in ("other", "name", "dropout")] == [False] * 3
    assert found["dropout"].trials == 30 and found["dropout"].when == {"name": ["b"]} and found["lr"].trials == 60


def test_few_trials_say_nothing_of_parameters():
    assert {one.matters for one in importances(*study_of(9), ACCURACY)} == {None}


def test_the_sentences_name_what_matters_and_what_does_not():
    shared = {"chance": 0.4, "trials": 40, "when": {}}
    found = {
        "importances": [
            {"parameter": "train.lr", "importance": 0.8, "matters": True, **shared},
            {"parameter": "train.momentum", "importance": 0.1, "matters": False, **shared},
            {
                "parameter": "model.vit.depth",
                "importance": None,
                "matters": None,
                **shared,
                "when": {"model.name": ["vit"]},
            },
        ]
    }
    mattered, not_mattered, unknown = words._parameters(found)
    assert "train.lr (80% of the variance)" in mattered and "train.momentum" in not_mattered
    assert "model.vit.depth (where model.name is vit)" in unknown


def test_an_exported_network_is_timed_and_classifies_as_before():
    train, val = trainings.split(40, 1), trainings.split(30, 2)
    trainer = trainings.trainer(trainings.recipe(epochs=1.0))
    list(trainer.epochs())
    description = checkpoints.describe("cnn", {}, trainings.manifest(train), {})
    settings = ExportConfig(
        opset=20,
        tolerance=1e-4,
        int8=Int8Config(calibration_samples=20, max_accuracy_drop=0.5, min_agreement=0.5, min_speedup=0.0),
    )
    found = exported.measure(trainer.whole, description, train, val, settings, 0)
    logits = trainer.whole(_normalised(val, description)).argmax(1).numpy()
    assert found["val_accuracy_exported"] == pytest.approx((logits == val.labels).mean())
    for name in ("latency_ms", "latency_int8_ms"):
        low, high = found[f"{name}_interval"]
        assert 0 < low <= found[name] <= high


def _normalised(split, description) -> torch.Tensor:
    images = torch.from_numpy(split.inputs).movedim(-1, 1).float() / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (description.mean, description.std))
    return (images - mean) / std


def test_a_lower_loss_is_a_better_score():
    assert LOSS.score({"val_loss": 2.0}) > LOSS.score({"val_loss": 3.0}) and LOSS.text(-2.0) == "2.0000"
    assert LOSS.interval(-3.0, -2.5) == "2.5000 to 3.0000" and ACCURACY.interval(0.5, 0.75) == "50.00% to 75.00%"


def test_the_interval_over_seeds_is_that_of_student():
    values = np.array([0.9410, 0.9440, 0.9380])
    assert results.over_seeds(values).tolist() == pytest.approx([0.941 - 0.0074524, 0.941 + 0.0074524], abs=1e-6)
    assert results.over_seeds(np.array([0.5, 0.5])).tolist() == [0.5, 0.5]
