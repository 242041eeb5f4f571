"""What a network of histories says about a split, computed and ranked in blocks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from torch import nn

from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator
from darkroom.evaluate import abstention, calibration
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.ranking import log_normaliser
from darkroom.models.inference import predict
from darkroom.recommend import ranking
from darkroom.recommend.ranking import Ranking

MAX_FITTED = 2**24  # logits: of 10,000 items, 1,677 examples


@dataclass(frozen=True)
class Answers:
    """What a network says about N histories; probabilities are calibrated, and among all items."""

    ranking: Ranking
    confidence: np.ndarray  # (N,) float64: the probability of the first recommended item
    label_probability: np.ndarray  # (N,) float64
    probabilities: np.ndarray  # (N, TOP) float64: of the first items; 0 where there are no more
    loss: np.ndarray  # (N,) float64: cross-entropy in nats, before temperature scaling

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: whether the first recommended item is the next one."""
        return self.ranking.hits(1)


def answer(network: nn.Module, split: Split, left_out: sparse.csr_array, temperature: float) -> Answers:
    """The answers of the network for a split; items of `left_out` (N, items) are not recommended."""
    rankings, numbers = [], []
    for part in ranking.blocks(len(split), left_out.shape[1]):
        logits, labels = predict(network, split.inputs[part], (), ()), np.asarray(split.labels[part])
        ranked, rows = ranking.rank(logits, labels, left_out[part]), np.arange(len(labels))
        normaliser = log_normaliser(logits / np.float32(temperature))
        asked = np.column_stack([labels, np.maximum(ranked.best, 0)])  # items (n, 1 + TOP)
        found = np.exp(np.take_along_axis(logits, asked, 1) / temperature - normaliser[:, None])
        of_label, of_best = found[:, 0], np.where(ranked.best < 0, 0, found[:, 1:])
        loss = log_normaliser(logits) - logits[rows, labels]
        rankings.append(ranked)
        numbers.append((of_best[:, 0], of_label, of_best, loss))
    return Answers(ranking.joined(rankings), *map(np.concatenate, zip(*numbers, strict=True)))


def fit(network: nn.Module, val: Split, left_out: sparse.csr_array, settings: EvaluateConfig) -> dict[str, Any]:
    """The contents of models/calibration.json: a temperature, and a threshold of the confidence, if one can be shown.

    From the validation split and its items `left_out` (N, items). The temperature is fitted on as many random examples
    as have MAX_FITTED logits.
    """
    count = max(1, MAX_FITTED // left_out.shape[1])
    some = np.sort(numpy_generator(0, "temperature").permutation(len(val))[:count])
    logits = predict(network, val.inputs[some], (), ())
    temperature = calibration.fit_temperature(logits, np.asarray(val.labels)[some])
    answers, goal = answer(network, val, left_out, temperature), (settings.target_accuracy, settings.confidence)
    return {
        "temperature": temperature,
        "threshold": abstention.threshold(answers.confidence, answers.correct, *goal),
        "target_accuracy": settings.target_accuracy,
        "target_confidence": settings.confidence,
        "validation_examples": len(val),
    }
