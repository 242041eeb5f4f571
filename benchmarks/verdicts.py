"""Whether the review's verdict is honest: how often it calls pairs of equal classifiers different, and finds a difference of a point.

Resampled from the real metrics/predictions.csv. Each picture's chance of a right answer is drawn from the probability that its
true label got, sharpened (its logit times a factor) until two classifiers that answer by these chances, each by itself, disagree
on as many pictures, right against wrong, as two real ones. Equal pairs have the same chances. Of different pairs the second's
logits are lowered by the same amount everywhere, until it is expected to be right a point less often.
"""

import argparse

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from darkroom.core.randomness import numpy_generator
from darkroom.review import result, significance
from darkroom.review.revision import WORKSPACE

DISAGREEMENTS = (
    0.02,
    0.031,
    0.04,
    0.06,
)  # 3.1 %: of two runs in this repository's history, d6ebc68 and e725f25; 6 %: hardly sharpened


def chances(probabilities: np.ndarray, disagreement: float) -> np.ndarray:
    """Each picture's chance (N,) of a right answer, where two classifiers disagree on such a share; from those of the true labels (N,)."""
    logits = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))

    def excess(factor: float) -> float:
        right = expit(factor * logits)
        return 2 * float((right * (1 - right)).mean()) - disagreement

    return expit(brentq(excess, 0, 100) * logits)


def worse(right: np.ndarray, points: float) -> np.ndarray:
    """The chances (N,) lowered, in the logits by the same amount, until their mean is lower by so many points of a hundred."""
    logits = logit(np.clip(right, 1e-12, 1 - 1e-12))
    shift = brentq(lambda shift: float(right.mean() - expit(logits - shift).mean()) - points / 100, 0, 50)
    return expit(logits - shift)


def called(old: np.ndarray, new: np.ndarray, pairs: int, random: np.random.Generator) -> float:
    """The share of so many pairs, drawn by the chances of old and new, that the review calls different."""
    return float(
        np.mean(
            [
                significance.accuracy(*(random.random(len(side)) < side for side in (old, new))).significant
                for _ in range(pairs)
            ]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument(
        "--points", type=float, default=1.0, help="the true difference, in points of a hundred (default: 1)"
    )
    chosen = parser.parse_args()
    probabilities = result.read(WORKSPACE).predictions["label_probability"].to_numpy()
    random = numpy_generator(0, "verdicts")
    print(
        f"{len(probabilities):,} test pictures, {chosen.pairs} pairs of each kind; called where McNemar's exact p < {significance.LEVEL:g}\n"
    )
    print(
        f"| two disagree on | accuracy | equal pairs called different | pairs {chosen.points:g} points apart called different |\n|---:|---:|---:|---:|"
    )
    for disagreement in DISAGREEMENTS:
        right = chances(probabilities, disagreement)
        equal, different = (
            called(right, other, chosen.pairs, random) for other in (right, worse(right, chosen.points))
        )
        print(f"| {disagreement:.1%} | {right.mean():.2%} | {equal:.1%} | {different:.1%} |", flush=True)


if __name__ == "__main__":
    main()
