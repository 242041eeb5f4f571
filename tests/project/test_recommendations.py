"""Histories through the stages after training: evaluate, robustness, explain."""

import csv
import re
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml

from darkroom.core import arrays
from darkroom.core.outputs import read_json
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict
from darkroom.recommend import histories, ranking
from stages import evaluate, explain, robustness
from tests.histories import make, train
from tests.repository import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("histories")
    make(folder)
    with chdir(folder):
        train()
        for stage in (evaluate, robustness, explain):
            stage.main()
    return folder


@pytest.fixture(autouse=True)
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def table(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_metrics_are_those_of_the_ranks(project: Path):
    found, rows = read_json("metrics/evaluate.json"), table("metrics/predictions.csv")
    ranks = np.array([int(row["rank"]) for row in rows])
    trained = open_trained()
    test = trained.split("test")
    left_out = histories.left_out("data/arrays", "test", "leave_out")
    expected = ranking.rank(predict(trained.network, test.inputs, (), ()), np.asarray(test.labels), left_out)
    assert ranks.tolist() == expected.ranks.tolist()
    for k in (1, 5, 10, 20):
        assert found[f"hr_at_{k}"] == pytest.approx((ranks <= k).mean())
        assert found[f"hr_at_{k}_low"] <= found[f"hr_at_{k}"] <= found[f"hr_at_{k}_high"]
    assert found["mrr"] == pytest.approx((1 / ranks).mean()) and found["samples"] == len(rows)
    assert found["accuracy"] == np.mean([row["label"] == row["recommended"] for row in rows]) == found["hr_at_1"]


def test_no_confusion_matrix_of_all_items_is_drawn(project: Path):
    plots = [plot for entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"] for plot in entry.values()]
    confusions = [plot for plot in plots if plot["template"].startswith("confusion")]
    assert confusions and not {plot["x"] for plot in confusions} & set(table("metrics/predictions.csv")[0])


def test_the_baselines_are_measured_on_the_same_users(project: Path):
    rows = {row["recommender"]: row for row in table("metrics/evaluate/baselines.csv")}
    assert list(rows) == ["popularity", "item_knn", "ease", "model"]
    found = read_json("metrics/evaluate.json")
    best = max((name for name in rows if name != "model"), key=lambda name: float(rows[name]["ndcg_at_10"]))
    gain = float(rows["model"]["ndcg_at_10"]) - float(rows[best]["ndcg_at_10"])
    assert found["ndcg_at_10_over_best_baseline"] == pytest.approx(gain, abs=1e-5)
    assert float(rows[best]["ndcg_at_10_gain"]) == pytest.approx(gain, abs=1e-5)
    assert not rows["model"]["ndcg_at_10_gain"]


def test_the_calibration_has_what_later_stages_need(project: Path):
    fitted = read_json("models/calibration.json")
    assert set(fitted) == {"temperature", "threshold", "target_accuracy", "target_confidence", "validation_examples"}
    assert 0.05 <= fitted["temperature"] <= 20


def test_histories_are_sliced_by_their_length_and_popularity(project: Path):
    columns = {row["column"] for row in table("metrics/evaluate/slices.csv")}
    assert columns == {"history_length", "popularity"} <= set(table("metrics/predictions.csv")[0])
    tenths = table("metrics/evaluate/popularity.csv")
    for name in ("next_items", "model", "ease"):
        assert sum(float(row[name]) for row in tenths) == pytest.approx(1, abs=1e-4)


def test_the_page_shows_titles_and_the_next_item(project: Path):
    page = Path("metrics/evaluate/recommendations.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 12 and "Title of film 3" in page
    shown = len(re.findall("<li class=hit>", page))
    assert shown == sum(int(row["rank"]) <= 10 for row in table("metrics/predictions.csv"))


def test_corrupted_histories_are_measured_by_hits_too(project: Path):
    rows, found = table("metrics/robustness/corruptions.csv"), read_json("metrics/robustness.json")
    assert {row["corruption"] for row in rows} == {"dropped_events", "shuffled_order", "last_events", "foreign_events"}
    assert found["mean_hr_at_10"] == pytest.approx(np.mean([float(row["hr_at_10"]) for row in rows]), abs=1e-4)
    assert found["worst_corruption_hr_at_10"] <= found["mean_hr_at_10"]


def test_explanations_are_of_items_that_may_be_recommended(project: Path):
    page = Path("metrics/explain/attributions.html").read_text(encoding="utf-8")
    assert "Which events the network uses" in page and "Title of film 3" in page
    answers = re.findall(r"recommended</th><td>Title of (.*?) → Title of (.*?), ", page)
    expected = {(row["label"], row["recommended"]) for row in table("metrics/predictions.csv")}
    assert answers and set(answers) <= expected
    found = read_json("metrics/explain.json")
    assert 0 <= found["leave_one_out_deletion"] <= 1 and found["faithfulness_steps"] == 10


def test_every_class_of_the_arrays_has_a_row(project: Path):
    classes = arrays.read_manifest("data/arrays").classes
    assert {row["class"] for row in table("metrics/evaluate/per_class.csv")} == set(classes)
