"""Check the review's verdicts by simulation: false alarms where nothing changed, and power at a known difference.

Resamples metrics/predictions.csv. The probability that an image is classified correctly is the probability of its true
label, sharpened (its logit times a factor) until two classifiers that follow it independently disagree, correct against
incorrect, on a given fraction of the images. Equal pairs have the same probabilities. In a different pair all logits of
the second are lowered by one amount, until its expected accuracy is a given number of percentage points lower. The
noise of a retraining shifts the expected accuracy of each classifier by a random amount of this standard deviation.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom.core.randomness import numpy_generator
from darkroom.review import result, significance
from darkroom.review.prior import retraining_std
from darkroom.review.result import DATA
from darkroom.review.revision import WORKSPACE
from darkroom.review.significance import Seeds

DISAGREEMENTS = (0.02, 0.034, 0.043, 0.06)  # 3.4 and 4.3 %: two trainings by default and of the recipe sprint
NOISES = (0.0, 0.001, 0.002)  # of a retraining
SEEDS = 5  # of each side, where seeds are known


@dataclass(frozen=True)
class Simulation:
    """Trainings of one recipe: probabilities (N,) of a correct prediction, and the noise of a retraining."""

    probabilities: np.ndarray
    noise: float

    def training(self, random: np.random.Generator) -> np.ndarray:
        """The correct predictions (N,) bool of one training."""
        return random.random(len(self.probabilities)) < lowered(self.probabilities, random.normal(0, self.noise))

    def seeds(self, random: np.random.Generator) -> Seeds:
        """The accuracies of SEEDS trainings."""
        accuracies = np.array([self.training(random).mean() for _ in range(SEEDS)])
        return Seeds(float(accuracies.mean()), float(accuracies.std(ddof=1)), SEEDS)


def sharpened(probabilities: np.ndarray, disagreement: float) -> np.ndarray:
    """Probabilities (N,) of a correct prediction with which two classifiers disagree on the fraction `disagreement`.

    `probabilities` (N,) are those of the true labels.
    """
    logits = logit(np.clip(probabilities, 1e-6, 1 - 1e-6))

    def excess(factor: float) -> float:
        correct = expit(factor * logits)
        return 2 * float((correct * (1 - correct)).mean()) - disagreement

    return expit(brentq(excess, 0, 100) * logits)


def lowered(correct: np.ndarray, loss: float) -> np.ndarray:
    """The probabilities `correct` (N,), all logits lowered by one amount: the mean falls by the fraction `loss`."""
    if not loss:
        return correct
    logits = logit(np.clip(correct, 1e-12, 1 - 1e-12))
    shift = brentq(lambda shift: float(correct.mean() - expit(logits - shift).mean()) - loss, -50, 50, xtol=1e-4)
    return expit(logits - shift)


def called_different(old: Simulation, new: Simulation, prior: float, pairs: int) -> dict[str, float]:
    """The fraction of `pairs` simulated pairs that the review calls different, by each kind of test."""
    random, called = numpy_generator(0, "verdicts"), []
    for _ in range(pairs):
        pair = old.training(random), new.training(random)
        seeds = old.seeds(random), new.seeds(random)
        called.append(
            (
                significance.accuracy(*pair).significant,
                significance.recipe(*pair, prior).significant,
                significance.recipe(*pair, prior, seeds=(seeds[0], None)).significant,
                significance.recipe(*pair, prior, seeds=seeds).significant,
            )
        )
    kinds = "models", "recipes, two trainings", f"recipes, {SEEDS} seeds of one side", f"recipes, {SEEDS} seeds each"
    return dict(zip(kinds, np.mean(called, axis=0).tolist(), strict=True))


def main() -> None:
    options = parser("verdicts", __doc__)
    options.add_argument("--pairs", type=int, default=200, help="pairs of each kind")
    options.add_argument("--points", type=float, default=1.0, help="true difference in percentage points")
    chosen = options.parse_args()
    read = result.read(WORKSPACE)
    probabilities = read.predictions["label_probability"].to_numpy()
    examples = int(read.metrics.get(DATA, {}).get("train", len(probabilities)))
    rows = []
    for disagreement in DISAGREEMENTS:
        correct = sharpened(probabilities, disagreement)
        prior = retraining_std(examples, 1 - float(correct.mean()))
        for noise in NOISES:
            old = Simulation(correct, noise)
            different = Simulation(lowered(correct, chosen.points / 100), noise)
            equal, found = (called_different(old, new, prior, chosen.pairs) for new in (old, different))
            cells = [f"{equal[kind]:.1%} / {found[kind]:.1%}" for kind in equal]
            rows.append((f"{disagreement:.1%}", f"{correct.mean():.2%}", f"{noise:.2%}", f"{prior:.2%}", *cells))
    print(
        f"{len(probabilities):,} test images, {chosen.pairs} pairs of each kind, p < {significance.LEVEL:g}.\n"
        f"Equal pairs called different / pairs {chosen.points:g} points apart called different:\n"
    )
    print(markdown(("disagreement", "accuracy", "noise", "prior", *equal), rows))


if __name__ == "__main__":
    main()
