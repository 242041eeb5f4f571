"""Selective classification: the classifier abstains where its confidence is low.

Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

Coverage is the fraction of examples that get an answer, the most confident first. Risk is the fraction of incorrect
answers among them. `confidence` is (N,) in 0..1 and `correct` (N,) bool throughout.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import betainc

from darkroom.core.spelling import counted
from darkroom.evaluate.probabilities import Table, largest
from darkroom.statistics.groups import independent_fraction
from darkroom.statistics.intervals import fraction_interval

LEVELS = 100  # coverages that are tested for a threshold
STARTS = 3  # coverages at which a sequence of tests starts, each with an equal part of the error probability


def curve(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """The risk-coverage curve at every percent of coverage: one row each, with coverage and risk."""
    risk = _risk(confidence, correct)
    ranks = _ranks(len(risk), 100)
    return pd.DataFrame({"coverage": ranks / len(risk), "risk": risk[ranks - 1]})


def threshold(
    confidence: np.ndarray, correct: np.ndarray, target: float, certainty: float, groups: np.ndarray | None = None
) -> float | None:
    """The confidence from which at least the fraction `target` of the answers is correct, with the given certainty.

    Of new examples from the same source, at least the fraction `target` with at least this confidence gets a correct
    prediction: this holds with the probability `certainty` over the choice of the N examples. Among the thresholds that
    can be shown, it is the one with the largest coverage; 0 answers everything. None if none can be shown.

    Coverages from `_smallest` up are tested by exact binomial tests, in rising order, by the fallback procedure: a
    coverage that passes hands its error probability on to the next (Wiens and Dmitrienko, "The fallback procedure for
    evaluating a single family of hypotheses", Journal of Biopharmaceutical Statistics, 2005). It shows larger coverages
    than the search by Geifman and El-Yaniv, which divides the error probability by log2 N. The examples must be
    independent and outside the training and test sets; those of groups (N,) text ("": in none) count as fewer. Choosing
    the epoch on them makes them slightly too easy.
    """
    fraction = independent_fraction(correct, groups)
    ranked, errors = np.sort(confidence)[::-1], np.cumsum(~correct[np.argsort(-confidence, kind="stable")])
    levels = _ranks(len(ranked), LEVELS)
    levels = levels[levels * fraction >= _smallest(target, certainty)]
    own = np.zeros(len(levels))
    own[np.unique(np.arange(STARTS) * len(levels) // STARTS)[: len(levels)]] = (1 - certainty) / STARTS
    shown, carried = None, 0.0
    for level, part in zip(levels.tolist(), own.tolist(), strict=True):
        # The answers have a higher confidence than the next example, which itself is not evidence
        below = float(ranked[level]) if level < len(ranked) else -1.0
        answers = int(np.searchsorted(-ranked, -below))
        carried += part
        if answers and _at_most(errors[answers - 1] * fraction, answers * fraction, 1 - target) <= carried:
            shown = max(math.nextafter(below, 2), 0.0)
        else:
            carried = 0.0
    return shown


def fit(
    probabilities: Table, labels: np.ndarray, target: float, certainty: float, groups: np.ndarray | None = None
) -> dict[str, float | None]:
    """The `threshold` for probabilities (N, K) of labels (N,) int64 and groups (N,), and what it was fitted with."""
    confidence, predicted = largest(probabilities)
    return {
        "threshold": threshold(confidence, predicted == labels, target, certainty, groups),
        "target_accuracy": target,
        "target_confidence": certainty,
        "validation_examples": len(labels),
    }


def summary(
    confidence: np.ndarray, correct: np.ndarray, threshold: float | None, groups: np.ndarray | None = None
) -> dict[str, float | None]:
    """Accuracy at 90 % and 95 % coverage, area under the risk-coverage curve, coverage and accuracy at the threshold.

    Examples of equal confidence count in any order: the risk is the mean over all orders. `_low` and `_high` bound
    95 % intervals, which take groups (N,) text into account. Without a threshold, or if it is never reached, coverage
    is 0 and accuracy None.
    """
    risk = _risk(confidence, correct)
    at = {percent: 1 - float(risk[math.ceil(percent / 100 * len(risk)) - 1]) for percent in (90, 95)}
    answered = confidence >= threshold if threshold is not None else np.zeros(len(confidence), bool)
    return {
        "accuracy_at_coverage_90": at[90],
        "accuracy_at_coverage_95": at[95],
        "risk_coverage_area": float(risk.mean()),
        "abstention_threshold": threshold,
        **_fraction("abstention_coverage", answered if threshold is not None else answered[:0], 0.0, groups),
        **_fraction("abstention_accuracy", correct[answered], None, groups[answered] if groups is not None else None),
    }


def line(fitted: Mapping[str, float | None]) -> str:
    """The result of `fit` for the terminal; without a threshold, why there is none."""
    target, certainty, examples = (
        fitted[name] for name in ("target_accuracy", "target_confidence", "validation_examples")
    )
    goal = f"{100 * target:.4g} % of the answers are correct (at {100 * certainty:.4g} % confidence)"
    if fitted["threshold"] is not None:
        return f"threshold {fitted['threshold']:.4f}: at least {goal}"
    smallest = _smallest(target, certainty)
    why = f": at least {smallest} are needed, all predicted correctly" if examples < smallest < math.inf else ""
    return f"no threshold could be shown: with {counted(examples, 'validation example')}, none proves that {goal}{why}"


def _fraction(
    name: str, hits: np.ndarray, otherwise: float | None, groups: np.ndarray | None
) -> dict[str, float | None]:
    """The fraction of `hits` (n,) bool with the bounds of its interval; all three are `otherwise` if n is 0."""
    values = [hits.mean(), *fraction_interval(hits, groups)] if len(hits) else [otherwise] * 3
    keys = (name, f"{name}_low", f"{name}_high")
    return {key: value if value is None else float(value) for key, value in zip(keys, values, strict=True)}


def _at_most(errors: float, answers: float, risk: float) -> float:
    """The probability of at most so many errors among the answers; numbers of answers may be fractional."""
    return float(betainc(answers - errors, errors + 1, 1 - risk)) if errors < answers else 1.0


def _smallest(target: float, certainty: float) -> int:
    """The number of correct answers, without an incorrect one, from which a test at a start can pass."""
    return math.ceil(math.log((1 - certainty) / STARTS) / math.log(target)) if target < 1 else math.inf


def _ranks(count: int, levels: int) -> np.ndarray:
    """The numbers of answers (n,) int64 at `levels` equal steps of coverage of `count` examples; each once."""
    return np.unique(np.ceil(np.arange(1, levels + 1) * count / levels).astype(int))


def _risk(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The risk (N,) of the 1, 2, ... N most confident answers: the mean over all orders of equal confidences."""
    values, counts = np.unique(-confidence, return_counts=True)
    wrong = np.bincount(np.searchsorted(values, -confidence), ~correct, len(values))
    ranks = np.arange(1, len(confidence) + 1)
    ends, errors = np.append(0, counts.cumsum()), np.append(0, wrong.cumsum())
    return np.interp(ranks, ends, errors) / ranks
