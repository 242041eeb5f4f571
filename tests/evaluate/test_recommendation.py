"""Tables, answers and pages of recommendations."""

from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from darkroom.core import arrays
from darkroom.core.arrays import TEXT, Items
from darkroom.core.errors import DarkroomError
from darkroom.evaluate import (
    calibration_error,
    history_page,
    item_answers,
    item_tables,
    recommendation,
    recommendation_plots,
)
from darkroom.evaluate.history_page import Example, Recommended
from darkroom.models.checkpoints import open_trained
from darkroom.recommend import ranking
from darkroom.recommend.ranking import TOP, Ranking
from tests.histories import make, train


def ranked(ranks: list[int], best: list[list[int]]) -> Ranking:
    padded = [[*row, *[-1] * (TOP - len(row))] for row in best]
    return Ranking(np.array(ranks), np.array(padded))


TRAIN_EVENTS = np.array([50, 30, 10, 6, 4])
GOOD = ranked([1, 2, 1, 30], [[0, 1], [1, 0], [2, 0], [0, 3]])
WEAK = ranked([12, 2, 30, 30], [[1, 2], [1, 0], [0, 1], [0, 1]])
RANKINGS = {"popularity": WEAK, "ease": WEAK, "model": GOOD}


def test_what_the_terminal_says():
    found = {
        "samples": 1,
        "mrr": 1.0,
        "ndcg_at_10": 1.0,
        "left_out_next_items": 0.0,
        "ndcg_at_10_over_best_baseline": 0.5,
    }
    found |= {"hr_at_10": 1.0, "hr_at_10_low": 0.2, "hr_at_10_high": 1.0}
    found |= {"ndcg_at_10_over_best_baseline_low": 0.25, "ndcg_at_10_over_best_baseline_high": 0.75}
    assert list(recommendation._lines(found, "ease", 9))[-1].endswith("(95 % interval +0.2500 to +0.7500)")
    found["left_out_next_items"] = 0.25
    (line,) = list(recommendation._lines(found, "ease", 9))[2:]
    assert line.startswith("25.0%") and "evaluate.seen_items" in line


@pytest.mark.parametrize("ranks", [[3], [30, 40], [1] * 9, [*[30] * 6, 1], [2, 9, 1, 30]])
def test_intervals_are_possible_values(ranks: list[int]):
    rankings = {"ease": ranked([30] * len(ranks), [[1]] * len(ranks)), "model": ranked(ranks, [[0]] * len(ranks))}
    (row,) = item_tables.slices({"all": np.full(len(ranks), "x", object)}, rankings, "ease").to_dict("records")
    whole = item_tables.recommenders(rankings, TRAIN_EVENTS).set_index("recommender")
    for key in ("hr_at_10", "ndcg_at_10"):
        assert 0 <= row[f"{key}_low"] <= row[key] <= row[f"{key}_high"] <= 1
        assert row[f"{key}_low"] < row[f"{key}_high"]  # also if all are missed
        assert -1 <= whole.loc["ease", f"{key}_gain_low"] <= whole.loc["ease", f"{key}_gain_high"] <= 1


def test_the_table_has_the_metrics_of_each_recommender():
    found = item_tables.recommenders(RANKINGS, TRAIN_EVENTS).set_index("recommender")
    assert found.loc["model", "hr_at_1"] == 0.5 and found.loc["model", "hr_at_10"] == 0.75
    assert found.loc["popularity", "hr_at_20"] == 0.5
    assert found.loc["model", "mrr"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 30) / 4)
    assert found.loc["model", "coverage_at_10"] == 4 / 5
    assert found.loc["model", "popularity_at_10"] == np.mean([50, 30, 30, 50, 10, 50, 50, 6])
    gain = found.loc["ease", ["hr_at_10_gain", "hr_at_10_gain_low", "hr_at_10_gain_high"]].tolist()
    assert gain[0] == 0.5 and gain[1] <= 0.5 <= gain[2] and found.loc["model"].filter(like="gain").isna().all()


def test_the_best_baseline_is_never_the_network():
    table = item_tables.recommenders(RANKINGS | {"item_knn": GOOD}, TRAIN_EVENTS)
    assert item_tables.best_baseline(table) == "item_knn"


def test_tenths_of_the_training_events():
    found = item_tables.popularity(RANKINGS, np.array([0, 1, 2, 4]), TRAIN_EVENTS)
    assert found["items"].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 1, 2]
    assert found["next_items"].tolist() == [0.25, 0, 0, 0, 0, 0.25, 0, 0, 0.25, 0.25]
    assert found["model"].tolist() == [0.5, 0, 0, 0, 0, 0.25, 0, 0, 0.125, 0.125]


def test_items_with_their_hits():
    items = Items(np.array(["A", "", "C", "D", "E"], dtype=TEXT), TRAIN_EVENTS, np.zeros((5, 0), np.float32))
    found = item_tables.per_item(GOOD, np.array([0, 0, 2, 4]), items, list("abcde")).set_index("class")
    assert found.loc["a", ["support", "recommended", "hr_at_10"]].tolist() == [2, 4, 1]
    assert found.loc["a", ["precision", "recall", "f1"]].tolist() == [0.5, 0.5, 0.5]
    assert found.loc["e", "hr_at_10"] == 0 and np.isnan(found.loc["b", "recall"]) and found.index[0] == "a"
    some = item_tables.per_item(ranked([5, 1], [[], [2]]), np.array([0, 2]), items, list("abcde")).set_index("class")
    assert some["recommended"].tolist() == [1, 0, 0, 0, 0] and some.index[0] == "c"  # one user has had all items


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make(folder)
    with chdir(folder):
        train()
    return folder


def test_probabilities_are_those_of_all_items(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    trained, test = open_trained(), arrays.read_split("data/arrays", "test")
    left_out = sparse.csr_array((len(test), 9), dtype=bool)
    found = item_answers.answer(trained.network, test, left_out, 2.0)
    with torch.no_grad():
        logits = trained.network(torch.from_numpy(np.array(test.inputs)).long())
    expected = (logits / 2).softmax(1).double().numpy()
    rows = np.arange(len(test))
    np.testing.assert_allclose(found.confidence, expected.max(1), atol=1e-6)
    np.testing.assert_allclose(found.label_probability, expected[rows, test.labels], atol=1e-6)
    np.testing.assert_allclose(found.probabilities[:, :9], -np.sort(-expected, 1), atol=1e-6)
    assert not found.probabilities[:, 9:].any()
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(np.array(test.labels)), reduction="none")
    np.testing.assert_allclose(found.loss, loss.numpy(), atol=1e-5)


def test_a_user_who_has_had_all_items_gets_none(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    trained, test = open_trained(), arrays.read_split("data/arrays", "test")
    left_out = np.zeros((len(test), 9), bool)
    left_out[0] = True
    answers = item_answers.answer(trained.network, test, sparse.csr_array(left_out), 1.0)
    first = item_tables.predictions(answers, test, trained.manifest.classes, {}).iloc[0]
    assert (first["recommended"], first["confidence"], first["rank"]) == ("", 0, TOP + 1)
    all_items = sparse.csr_array(np.ones_like(left_out))
    monkeypatch.setattr(recommendation.histories, "left_out", lambda *_: all_items)
    with pytest.raises(DarkroomError, match=r"set evaluate\.seen_items to keep"):
        recommendation.measure(trained, SimpleNamespace(seen_items="leave_out"))


def test_blocks_change_no_rank(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    trained, test = open_trained(), arrays.read_split("data/arrays", "test")
    left_out = sparse.csr_array((len(test), 9), dtype=bool)
    whole = item_answers.answer(trained.network, test, left_out, 1.0)
    monkeypatch.setattr(ranking, "VALUES", 5 * 9)
    parts = item_answers.answer(trained.network, test, left_out, 1.0)
    assert whole.ranking.ranks.tolist() == parts.ranking.ranks.tolist()
    np.testing.assert_allclose(whole.confidence, parts.confidence, rtol=1e-5)


def test_the_error_of_the_confidence_needs_no_other_probabilities():
    random = np.random.default_rng(0)
    given, labels = random.dirichlet(np.ones(4), 300), random.integers(0, 4, 300)
    whole = calibration_error.summary(given, labels)
    part = calibration_error.of_predictions(given.max(1), given.argmax(1) == labels)
    assert part.items() <= whole.items() and len(part) == 4


def test_the_page_escapes_and_marks_the_next_item():
    example = Example("<u>", ["a"] * 20, "<b>", 2, [Recommended("x", 0.5, False), Recommended("<b>", 0.25, True)])
    page = history_page.html([example])
    assert "<u>" not in page and "<b>" not in page and page.count("class=hit") == 1
    assert "and 5 earlier" in page and page.count("<li>a</li>") == history_page.LATEST


def test_the_figures_are_drawn():
    rankings = RANKINGS | {"item_knn": WEAK}
    slices = item_tables.slices({"site": np.array(["$a", "b", "b", ""], object)}, rankings, "ease")
    assert slices["examples"].tolist() == [1, 2] and slices["hr_at_10_ease"].tolist() == [0, 0.5]
    for figure in (
        recommendation_plots.by_k(rankings),
        recommendation_plots.by_slice(slices, "ease"),
        recommendation_plots.by_slice(pd.concat([slices] * 20, ignore_index=True), "ease"),
        recommendation_plots.by_popularity(item_tables.popularity(rankings, np.array([0, 1, 2, 4]), TRAIN_EVENTS)),
    ):
        figure.canvas.draw()
