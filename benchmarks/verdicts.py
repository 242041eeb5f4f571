"""Check the review's verdict by simulation: its false alarms on equal classifiers, and its power at a known difference.

Resamples metrics/predictions.csv. The probability that an image is classified correctly is the probability of its true
label, sharpened (its logit times a factor) until two classifiers that follow it independently disagree, correct against
incorrect, on a given fraction of the images. Equal pairs have the same probabilities. In a different pair all logits of
the second are lowered by one amount, until its expected accuracy is a given number of percentage points lower.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom.core.randomness import numpy_generator
from darkroom.review import result, significance
from darkroom.review.revision import WORKSPACE

# 3.1 %: two runs in this repository's history, d6ebc68 and e725f25. 6 %: hardly sharpened
DISAGREEMENTS = (0.02, 0.031, 0.04, 0.06)


def sharpened(probabilities: np.ndarray, disagreement: float) -> np.ndarray:
    """Probabilities (N,) of a correct prediction with which two classifiers disagree on the fraction `disagreement`.

    `probabilities` (N,) are those of the true labels.
    """
    logits = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))

    def excess(factor: float) -> float:
        correct = expit(factor * logits)
        return 2 * float((correct * (1 - correct)).mean()) - disagreement

    return expit(brentq(excess, 0, 100) * logits)


def lowered(correct: np.ndarray, points: float) -> np.ndarray:
    """The probabilities `correct` (N,), all logits lowered by one amount: the mean falls by `points` in percent."""
    logits = logit(np.clip(correct, 1e-12, 1 - 1e-12))
    shift = brentq(lambda shift: float(correct.mean() - expit(logits - shift).mean()) - points / 100, 0, 50)
    return expit(logits - shift)


def called_different(old: np.ndarray, new: np.ndarray, pairs: int, random: np.random.Generator) -> float:
    """The fraction of `pairs` simulated pairs, with these probabilities (N,), that the review calls different."""
    verdicts = []
    for _ in range(pairs):
        predictions = (random.random(len(side)) < side for side in (old, new))
        verdicts.append(significance.accuracy(*predictions).significant)
    return float(np.mean(verdicts))


def main() -> None:
    options = parser("verdicts", __doc__)
    options.add_argument("--pairs", type=int, default=200, help="pairs of each kind")
    options.add_argument("--points", type=float, default=1.0, help="true difference in percentage points")
    chosen = options.parse_args()
    probabilities = result.read(WORKSPACE).predictions["label_probability"].to_numpy()
    random = numpy_generator(0, "verdicts")
    print(
        f"{len(probabilities):,} test images, {chosen.pairs} pairs of each kind; different: McNemar's exact test, "
        f"p < {significance.LEVEL:g}\n"
    )
    rows = []
    for disagreement in DISAGREEMENTS:
        correct = sharpened(probabilities, disagreement)
        equal, different = (
            called_different(correct, other, chosen.pairs, random)
            for other in (correct, lowered(correct, chosen.points))
        )
        rows.append((f"{disagreement:.1%}", f"{correct.mean():.2%}", f"{equal:.1%}", f"{different:.1%}"))
    different = f"pairs {chosen.points:g} points apart called different"
    print(markdown(("disagreement", "accuracy", "equal pairs called different", different), rows))


if __name__ == "__main__":
    main()
