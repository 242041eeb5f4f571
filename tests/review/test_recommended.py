"""The review of recommendations."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from darkroom.core.errors import DarkroomError
from darkroom.review import compare, page, result, revision, significance
from darkroom.review.compare import Review
from darkroom.review.revision import WORKSPACE
from tests import reviewed

N = 200
OLD = [1 + index % 30 for index in range(N)]
NEW = [max(1, rank - 6) for rank in OLD]


def write(folder: Path, ranks: Sequence[int], lr: float = 0.1, **columns: Sequence[str]) -> None:
    """The tracked results of a recommender that gave these ranks to the next items."""
    more = {"rank": ranks, "history_length": ["1 to 5", "6 to 9"] * (N // 2), **columns}
    numbers = {f"hr_at_{k}": float(np.mean(np.array(ranks) <= k)) for k in (1, 5, 10, 20)}
    numbers |= {"ndcg_at_10": 0.1, "mrr": float(np.mean(1 / np.array(ranks)))}
    reviewed.write(folder, [rank == 1 for rank in ranks], lr=lr, columns=more, **numbers)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, OLD)
    reviewed.edit(tmp_path / result.PREDICTIONS, "predicted", "recommended")  # an earlier version wrote the former
    reviewed.lock(tmp_path)
    reviewed.commit(tmp_path, "old")
    write(tmp_path, NEW, lr=0.2)
    reviewed.commit(tmp_path, "new")
    return tmp_path


def review(old: str) -> Review:
    return compare.compare(result.read(revision.find(old)), result.read(WORKSPACE))


def test_hits_are_compared_not_first_places(project: Path):
    found = review("old")
    hits = [np.array(ranks) <= 10 for ranks in (OLD, NEW)]
    assert found.primary == "hr_at_10" and found.accuracies == tuple(float(one.mean()) for one in hits)
    assert found.model == significance.accuracy(*hits) and found.model_verdict == found.recipe_verdict == "better"
    assert len(found.fixed) == (~hits[0] & hits[1]).sum() and not len(found.broken)
    assert (found.fixed["old"] > 10).all() and (found.fixed["new"] <= 10).all()


def test_the_other_measures_are_paired(project: Path):
    found = review("old").secondary
    assert set(found) == {"hr_at_1", "hr_at_5", "hr_at_20", "ndcg_at_10", "mrr", "loss_calibrated"}
    change = 1 / np.array(NEW) - 1 / np.array(OLD)
    expected = ttest_1samp(change, 0)
    low, high = expected.confidence_interval()
    assert (found["mrr"].value, found["mrr"].low, found["mrr"].high) == pytest.approx((change.mean(), low, high))
    raw = significance.mean(1 / np.array(OLD), 1 / np.array(NEW))
    assert raw.p == pytest.approx(expected.pvalue) and found["mrr"].p >= raw.p  # adjusted for the others


def test_histories_are_sliced_and_items_are_not(project: Path):
    found = review("old")
    assert found.slices["column"].unique().tolist() == ["history_length"] and not len(found.classes)
    assert not len(found.confused_pairs)
    lengths = np.array(["1 to 5", "6 to 9"] * (N // 2))
    expected = (np.array(NEW) <= 10)[lengths == "6 to 9"].mean()
    assert found.slices.set_index("value").loc["6 to 9", "new"] == expected


def test_the_page_names_the_measure(project: Path):
    text = page.markdown(review("old"))
    assert "HR@10 35.00 % → **56.00 %**" in text and "| NDCG@10 |" in text and "| mean reciprocal rank |" in text
    assert "old rank" in text and "### Classes" not in text and "ccuracy |" not in text
    assert "</html>" in page.html(review("old"))
    json.dumps(compare.as_json(review("old")))


def test_the_same_ranks_are_the_same(project: Path):
    assert review("new").model_verdict == "the same"
    changed = [*NEW[:-1], NEW[-1] + 1]  # still the same first item
    write(project, changed, lr=0.2)
    assert review("new").model_verdict == "within noise"


def test_ranks_that_contradict_the_metrics_are_refused(project: Path):
    path = project / "metrics/evaluate.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hr_at_10": 0.99}))
    with pytest.raises(DarkroomError, match=r"hr_at_10 is 0\.99"):
        review("old")


def test_a_user_who_has_had_all_items_has_no_first_one(project: Path):
    reviewed.change_predictions(project, lambda table: table.assign(predicted=[*table["predicted"][:-1], ""]))
    reviewed.edit(project / result.PREDICTIONS, "predicted", "recommended")
    assert result.read(WORKSPACE).predictions["predicted"].iloc[-1] == ""
    reviewed.edit(project / result.PREDICTIONS, "test/000,coat,", "test/000,,")
    with pytest.raises(DarkroomError, match="has empty cells"):
        result.read(WORKSPACE)


def test_histories_with_another_next_item_are_not_common(project: Path):
    reviewed.change_predictions(project, lambda table: table.assign(label=["new item", *table["label"][1:]]))
    found = review("old")
    assert len(found.common.new) == N - 1 and (found.common.only_old, found.common.only_new) == (1, 1)
    assert found.accuracies == tuple(float((np.array(ranks[1:]) <= 10).mean()) for ranks in (OLD, NEW))


def test_corruptions_are_measured_by_hits(project: Path):
    table = pd.DataFrame({"corruption": ["lost"], "severity": [1], "accuracy": [0.01], "hr_at_10": [0.2]})
    (project / "metrics/robustness").mkdir(parents=True)
    table.to_csv(project / "metrics/robustness/corruptions.csv", index=False)
    reviewed.commit(project, "lost")
    assert review("lost").corruptions[["score", "old", "new"]].values.tolist() == [["hr_at_10", 0.2, 0.2]]
