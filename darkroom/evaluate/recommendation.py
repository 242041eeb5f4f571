"""The evaluation of recommendations: where the next item of each history is ranked among all items.

Nothing here holds the scores of all histories and items at once: they are computed and ranked in blocks.
"""

import time
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from darkroom.core import arrays
from darkroom.core.arrays import Items, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator
from darkroom.core.spelling import counted
from darkroom.evaluate import (
    baselines,
    calibration_error,
    confidence,
    item_answers,
    item_tables,
    recommendation_report,
    slices,
)
from darkroom.evaluate.baselines import Baseline
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.found import Found
from darkroom.evaluate.item_answers import Answers
from darkroom.evaluate.item_tables import COMPARED, NETWORK
from darkroom.models.checkpoints import Trained
from darkroom.recommend import histories, ranking
from darkroom.recommend.ranking import SHOWN

ARRAYS = "data/arrays"
TUNED_ON = 2000  # validation histories on which the settings of baselines are chosen


def measure(trained: Trained, settings: EvaluateConfig) -> Found:
    """Measure the trained network on the test set, beside baselines that get the same inputs.

    Raises DarkroomError if there is no item to recommend.
    """
    network, classes = trained.network.to(trained.device), trained.manifest.classes
    val, test, items = trained.split("val"), trained.split("test"), arrays.read_items(ARRAYS)
    of_val, left_out = (histories.left_out(ARRAYS, name, settings.seen_items) for name in ("val", "test"))
    if left_out.nnz == np.prod(left_out.shape):
        raise DarkroomError("All test users have had all items, so none is left: set evaluate.seen_items to keep.")
    started = time.perf_counter()
    fitted = item_answers.fit(network, val, of_val, settings)
    answers = item_answers.answer(network, test, left_out, fitted["temperature"])
    seconds = time.perf_counter() - started

    labels, others = np.asarray(test.labels), _baselines(val, of_val, items)
    rankings = {name: ranking.in_blocks(one.scores, test.inputs, labels, left_out) for name, one in others.items()}
    rankings[NETWORK] = answers.ranking
    table = item_tables.recommenders(rankings, items.train_events)
    table.insert(1, "setting", [others[name].setting if name in others else "" for name in table["recommender"]])
    best, sliced = item_tables.best_baseline(table), _slices(labels, items, settings)
    summary = _summary(answers, table, best, fitted["temperature"])
    summary["popularity_of_next_items"] = float(items.train_events[labels].mean())
    summary["left_out_next_items"] = float(left_out[np.arange(len(labels)), labels].mean())
    tables = {
        "baselines.csv": table,
        "slices.csv": item_tables.slices(sliced, rankings, best),
        "popularity.csv": item_tables.popularity(rankings, labels, items.train_events),
        "per_class.csv": item_tables.per_item(answers.ranking, labels, items, classes),
        "reliability.csv": calibration_error.binned(answers.confidence, answers.correct).assign(
            probabilities="calibrated"
        ),
    }
    gallery = recommendation_report.gallery(test, answers, items, classes, settings.gallery_size)
    return Found(
        summary=summary,
        fitted=fitted,
        predictions=item_tables.predictions(answers, test, classes, sliced),
        write=partial(recommendation_report.write, tables=tables, rankings=rankings, best=best, gallery=gallery),
        lines=(*_lines(summary, best, len(classes)), confidence.line(fitted)),
        examples_per_second=(len(val) + len(test)) / seconds,
    )


def _baselines(val: Split, left_out: sparse.csr_array, items: Items) -> Mapping[str, Baseline]:
    """The baselines, with the settings that are best on random validation histories."""
    some = np.sort(numpy_generator(0, "baselines").permutation(len(val))[:TUNED_ON])
    part, kept = Split(val.inputs[some], np.asarray(val.labels)[some], val.ids[some]), left_out[some]

    def quality(one: Baseline) -> float:
        found = ranking.in_blocks(one.scores, part.inputs, part.labels, kept)
        return float(ranking.gains(found.ranks, SHOWN).mean())

    _, events = histories.of_users(ARRAYS, "train")
    return baselines.fit(events, items.train_events, quality)


def _slices(labels: np.ndarray, items: Items, settings: EvaluateConfig) -> dict[str, np.ndarray]:
    """The slice (N,) object of each test example: by how many items its user had, by its next item, by columns."""
    columns = {
        **arrays.read_columns(ARRAYS, "test"),
        "history_length": histories.seen(ARRAYS, "test").sum(1).astype(str),
        "popularity": items.train_events[labels].astype(str),
    }
    return slices.values(columns, ["history_length", "popularity", *settings.slices])


def _summary(answers: Answers, table: pd.DataFrame, best: str, temperature: float) -> dict[str, float]:
    """The contents of metrics/evaluate.json."""
    rows = table.set_index("recommender").drop(columns="setting")
    gains = [f"{key}_gain{bound}" for key in COMPARED for bound in ("", "_low", "_high")]
    own = rows.loc[NETWORK].drop(gains)
    return {
        **{f"accuracy{bound}": float(own[f"hr_at_1{bound}"]) for bound in ("", "_low", "_high")},
        **{key: float(value) for key, value in own.items()},
        **{key.replace("gain", "over_best_baseline"): float(value) for key, value in rows.loc[best, gains].items()},
        "loss": float(answers.loss.mean()),
        "loss_calibrated": float(-np.log(np.maximum(answers.label_probability, 1e-300)).mean()),
        "temperature": temperature,
        **calibration_error.of_predictions(answers.confidence, answers.correct),
        "samples": len(answers.loss),
    }


def _lines(summary: Mapping[str, float], best: str, items: int) -> Iterator[str]:
    """The main numbers of a summary for the terminal."""
    hits, gain = f"hr_at_{SHOWN}", f"ndcg_at_{SHOWN}"
    yield (
        f"{counted(int(summary['samples']), 'test history')}, the next item among {counted(items, 'item')}: HR@{SHOWN} "
        f"{summary[hits]:.2%} (95 % interval {summary[f'{hits}_low']:.2%} to {summary[f'{hits}_high']:.2%}), "
        f"NDCG@{SHOWN} {summary[gain]:.4f}, MRR {summary['mrr']:.4f}"
    )
    over, low, high = (summary[f"{gain}_over_best_baseline{bound}"] for bound in ("", "_low", "_high"))
    yield (
        f"NDCG@{SHOWN} minus that of the best baseline, {best}: {over:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
    )
    if repeated := summary["left_out_next_items"]:
        yield (
            f"{repeated:.1%} of the next items are ones that the user has had, so they are not recommended and count "
            "as missed: set evaluate.seen_items to keep if items are to be recommended again"
        )
