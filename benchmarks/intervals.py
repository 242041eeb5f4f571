"""Measure how often the 95 % intervals of metrics/evaluate.json contain the true value, on simulated test sets.

Each class has its own recall, drawn once per test set around the stated accuracy, and its own confusions. Classes are
equally frequent, or the k-th has the frequency 1 / k. With groups, the correct predictions of 20 groups have the stated
intraclass correlation: the recalls of a group are drawn from beta distributions. Macro F1, balanced accuracy
and Matthews' correlation are compared with their true values for the classes that are in the test set. Takes about
three minutes on two cores.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.stats import beta

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom.core.randomness import numpy_generator
from darkroom.evaluate import class_scores
from darkroom.evaluate.class_scores import Counts
from darkroom.statistics.intervals import fraction_interval, mean_interval

TRIALS = {30: 400, 100: 400, 1000: 200, 10_000: 100}  # test sets by number of examples
METRICS = ("accuracy", "loss", *class_scores.NAMES)
LOSSES = ((0.5, 0.2, 0.0), (2.0, 1.0, 0.5))  # gamma of correct and of incorrect predictions: shape, scale and shift
GROUPS = 20


@dataclass(frozen=True)
class Setting:
    """Of which test sets are drawn."""

    examples: int
    classes: int
    accuracy: float
    balanced: bool
    correlation: float  # within groups; 0: no groups


@dataclass(frozen=True)
class TestSet:
    """Labels and predicted (N,) int64, losses (N,) float64, groups (N,) text, and the true values of METRICS."""

    labels: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray
    groups: np.ndarray | None
    truth: np.ndarray


def draw(setting: Setting, random: np.random.Generator) -> TestSet:
    """One test set."""
    n, k = setting.examples, setting.classes
    frequency = np.ones(k) if setting.balanced else 1 / np.arange(1, k + 1)
    frequency = frequency / frequency.sum()
    recall = random.beta(20 * setting.accuracy, 20 * (1 - setting.accuracy), k)
    errors = random.dirichlet(np.full(k - 1, 0.3), k).cumsum(1)  # by the distance from the label, in a circle
    labels = random.choice(k, n, p=frequency)
    chances, groups = recall[labels], None
    if setting.correlation:
        number = np.arange(n) * min(GROUPS, n // 2) // n
        spread = 1 / setting.correlation - 1
        of_groups = beta.ppf(random.random((GROUPS, 1)), spread * recall, spread * (1 - recall))
        chances, groups = of_groups[number, labels], number.astype(str)
    correct = random.random(n) < chances
    distance = np.minimum((random.random(n)[:, None] > errors[labels]).sum(1), k - 2) + 1
    shape, scale, shift = np.where(correct[:, None], LOSSES[0], LOSSES[1]).T
    accuracy, means = frequency @ recall, [shape * scale + shift for shape, scale, shift in LOSSES]
    there = np.bincount(labels, minlength=k) > 0
    return TestSet(
        labels=labels,
        predicted=np.where(correct, labels, (labels + distance) % k),
        losses=random.gamma(shape, scale) + shift,
        groups=groups,
        truth=np.array(
            [accuracy, accuracy * means[0] + (1 - accuracy) * means[1], *_scores(frequency * there, recall, errors)]
        ),
    )


def _scores(frequency: np.ndarray, recall: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The true values of the class scores at these frequencies (K,)."""
    k, frequency = len(frequency), frequency / frequency.sum()
    of_distance = np.diff(errors, axis=1, prepend=0)
    targets = (np.arange(k)[:, None] + np.arange(1, k)) % k
    wrong = (frequency * (1 - recall))[:, None] * of_distance
    predicted = frequency * recall + np.bincount(targets.ravel(), wrong.ravel(), k)
    return Counts(frequency, predicted, frequency * recall).scores()


def coverage(setting: Setting) -> np.ndarray:
    """The fraction of test sets whose interval contains the true value, by METRICS."""
    random = numpy_generator(0, *map(str, vars(setting).values()))
    covered = []
    for _ in range(TRIALS[setting.examples]):
        drawn = draw(setting, random)
        correct = drawn.labels == drawn.predicted
        bounds = [fraction_interval(correct, drawn.groups), mean_interval(drawn.losses, drawn.groups)]
        bounds += list(class_scores.intervals(drawn.labels, drawn.predicted, drawn.groups)[1])
        covered.append([low <= value <= high for (low, high), value in zip(bounds, drawn.truth, strict=True)])
    return np.mean(covered, axis=0)


def main() -> None:
    parser("intervals", __doc__).parse_args()
    regimes = ((0.8, False), (0.95, True))
    settings = [
        Setting(n, k, accuracy, balanced, correlation)
        for correlation, n, k, (accuracy, balanced) in product((0.0, 0.1, 0.3), TRIALS, (2, 10, 100), regimes)
        if not correlation or k == 10
    ]
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(settings, pool.map(coverage, settings), strict=True))
    columns = ["groups", "examples", "classes", "accuracy", "frequencies", *METRICS]
    rows = []
    for setting, fractions in found.items():
        groups = f"{setting.correlation:g}" if setting.correlation else "none"
        frequencies = "equal" if setting.balanced else "1 / k"
        about = [groups, setting.examples, setting.classes, setting.accuracy, frequencies]
        rows.append([*about, *(f"{100 * one:.0f}" for one in fractions)])
    print(markdown(columns, rows))
    means = dict(zip(METRICS, np.mean(list(found.values()), axis=0), strict=True))
    print(f"\nMeans in percent: {', '.join(f'{name} {100 * mean:.1f}' for name, mean in means.items())}")


if __name__ == "__main__":
    main()
