"""Measure how much retraining with another seed changes the test accuracy, and how often the review is misled by it.

Trains the seeds 1 to --seeds on data/arrays with params.yaml, or with a recipe, and keeps the test predictions of each
in FOLDER/<seed>.npz; seeds that are there are not trained again. All pairs of these trainings are the same recipe, so
every difference that the review finds between them is a false call. With --against, the trainings in another folder,
of a recipe that is better or worse, show how often a difference is found.

The columns: the standard deviation of the accuracy; the fraction of test images that exactly one of two trainings
predicts correctly; the deviation that the first has beyond these flips, were they independent; what the review assumes
of it (darkroom/review/prior.py); and the fraction of false calls of McNemar's test between two models, and of the
review's test between two recipes if it knows two trainings only, also the deviation of 3 other seeds, or 5 seeds each
(fewer than 10 trainings: half of them).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, changed, recipe
from benchmarks.tables import markdown
from darkroom.core import arrays, params
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator
from darkroom.review import significance
from darkroom.review.prior import retraining_std
from darkroom.review.significance import Seeds

EARLIER, GROUP = 3, 5  # seeds whose deviation is known; seeds of each side whose means are compared
DRAWS = 1000  # random choices of seeds

COLUMNS = (
    "trainings",
    "accuracy ± std, %",
    "flips, %",
    "std beyond flips, %",
    "assumed, %",
    "false calls: models",
    "recipes, two trainings",
    f"recipes, std of {EARLIER} seeds",
    f"recipes, {GROUP} seeds each",
)


@dataclass(frozen=True)
class Trainings:
    """Trainings that differ in the seed alone: `correct` (S, N) bool, and the number of their training examples."""

    correct: np.ndarray
    examples: int

    @property
    def accuracies(self) -> np.ndarray:
        """The test accuracies (S,) float64."""
        return self.correct.mean(1)

    @property
    def flips(self) -> float:
        """The mean fraction of test examples that exactly one of two trainings predicts correctly."""
        often = self.correct.mean(0)
        seeds = len(self.correct)
        return float(2 * (often * (1 - often)).mean() * seeds / (seeds - 1))

    @property
    def std_beyond_flips(self) -> float:
        """The part of the accuracy's deviation that independent flips do not explain; 0 if they explain all."""
        return math.sqrt(max(0.0, self.accuracies.var(ddof=1) - self.flips / 2 / self.correct.shape[1]))

    @property
    def assumed(self) -> float:
        """What the review assumes of `std_beyond_flips`."""
        return retraining_std(self.examples, 1 - float(self.accuracies.mean()))

    def seeds(self, chosen: np.ndarray) -> Seeds:
        """What metrics/seeds.json says about the chosen trainings (n,)."""
        found = self.accuracies[chosen]
        return Seeds(float(found.mean()), float(found.std(ddof=1)), len(found))


def train(seed: int, changes: Mapping[str, object], examples: int, path: Path) -> None:
    """Train with `seed`, as darkroom/seeds.py does, on `examples` training images (0: all); write the test predictions.

    The file holds `predicted` and `label_probability` (N,) of the test images, `labels` (N,), and `examples`.
    """
    from darkroom.models.inference import predict, probabilities
    from darkroom.train.setup import build_trainer

    chosen, manifest = changed(changes), arrays.read_manifest(ARRAYS)
    whole, val, test = (arrays.read_split(ARRAYS, name) for name in arrays.SPLITS)
    kept = np.sort(numpy_generator(0, "subset").choice(len(whole), examples or len(whole), replace=False))
    part = Split(whole.uncropped[kept], whole.labels[kept], whole.ids[kept], whole.size) if examples else whole
    trainer = build_trainer(seed, chosen.model, chosen.train, manifest, part, val)
    for _ in trainer.epochs():
        pass
    found = probabilities(predict(trainer.whole, test.inputs, trainer.data.mean, trainer.data.std))
    labels, of_label = np.asarray(test.labels), found[np.arange(len(found)), test.labels]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, predicted=found.argmax(1), label_probability=of_label, labels=labels, examples=len(part))
    print(f"{path}: {(found.argmax(1) == labels).mean():.2%} in {trainer.costs()['training_seconds']} s", flush=True)


def read(folder: Path) -> Trainings:
    """The trainings that `train` left in `folder`, in the order of their seeds."""
    paths = sorted(folder.glob("*.npz"), key=lambda path: int(path.stem))
    if len(paths) < EARLIER + 3:
        raise SystemExit(f"{folder} holds {len(paths)} trainings: at least {EARLIER + 3} are needed; raise --seeds.")
    files = [dict(np.load(path)) for path in paths]
    return Trainings(np.array([file["predicted"] == file["labels"] for file in files]), int(files[0]["examples"]))


def false_calls(same: Trainings, random: np.random.Generator) -> dict[str, tuple[int, int]]:
    """How many pairs of the same recipe are called different, and of how many, by each kind of test."""
    everything = np.arange(len(same.correct))
    pairs = list(combinations(everything.tolist(), 2))

    def count(test: Callable[[int, int], significance.Difference]) -> tuple[int, int]:
        return sum(test(*pair).significant for pair in pairs), len(pairs)

    def with_earlier(first: int, second: int) -> significance.Difference:
        others = random.choice(np.setdiff1d(everything, (first, second)), EARLIER, replace=False)
        return _recipe(same, first, same, second, earlier=same.seeds(others))

    return {
        "models": count(lambda first, second: significance.accuracy(same.correct[first], same.correct[second])),
        "prior": count(lambda first, second: _recipe(same, first, same, second)),
        "earlier": count(with_earlier),
        "seeds": found_with_seeds(same, same, random),
    }


def found_with_seeds(old: Trainings, new: Trainings, random: np.random.Generator) -> tuple[int, int]:
    """How many of DRAWS comparisons of GROUP seeds each, drawn at random, call the recipes different.

    With fewer than 2 GROUP trainings, half of them. If `old` is `new`, no seed is on both sides.
    """
    called, size = 0, min(GROUP, len(old.correct) // 2, len(new.correct) // 2)
    for _ in range(DRAWS):
        first = random.permutation(len(old.correct))
        second = first[size:] if new is old else random.permutation(len(new.correct))
        groups = first[:size], second[:size]
        seeds = old.seeds(groups[0]), new.seeds(groups[1])
        called += _recipe(old, groups[0][0], new, groups[1][0], seeds=seeds).significant
    return called, DRAWS


def found_with_pairs(old: Trainings, new: Trainings) -> tuple[int, int]:
    """How many pairs of one training each call the recipes different."""
    pairs = [(first, second) for first in range(len(old.correct)) for second in range(len(new.correct))]
    return sum(_recipe(old, first, new, second).significant for first, second in pairs), len(pairs)


def _recipe(old: Trainings, first: int, new: Trainings, second: int, **known: object) -> significance.Recipe:
    prior = math.sqrt((old.assumed**2 + new.assumed**2) / 2)
    return significance.recipe(old.correct[first], new.correct[second], prior, **known)


def row(same: Trainings, random: np.random.Generator) -> list[str]:
    """The cells of COLUMNS."""
    calls = [f"{called / total:.1%} of {total}" for called, total in false_calls(same, random).values()]
    accuracies = 100 * same.accuracies
    spread = f"{accuracies.mean():.2f} ± {accuracies.std(ddof=1):.2f}"
    deviations = [f"{100 * value:.2f}" for value in (same.flips, same.std_beyond_flips, same.assumed)]
    return [str(len(accuracies)), spread, *deviations, *calls]


def main() -> None:
    options = parser("retraining", __doc__)
    options.add_argument("folder", metavar="FOLDER", type=Path, help="where the trainings are kept")
    options.add_argument("--seeds", type=int, default=20, help="trainings, of the seeds 1 to this number")
    options.add_argument("--recipe", help="a file in recipes/ without .yaml (default: params.yaml as it is)")
    options.add_argument("--examples", type=int, default=0, help="training images, drawn at random; 0: all")
    options.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other changes of params.yaml")
    options.add_argument("--against", metavar="FOLDER", type=Path, help="trainings of another recipe, made before")
    chosen = options.parse_args()
    given = dict(change.split("=", 1) for change in chosen.set)
    changes = recipe(chosen.recipe) if chosen.recipe else {}
    changes |= {key: yaml.load(value, params.Loader) for key, value in given.items()}  # Loader is a SafeLoader
    for seed in range(1, chosen.seeds + 1):
        path = chosen.folder / f"{seed}.npz"
        if not path.exists():
            train(seed, changes, chosen.examples, path)
    random, same = numpy_generator(0, "retraining"), read(chosen.folder)
    print(f"\n{same.examples:,} training images, {same.correct.shape[1]:,} test images\n")
    print(markdown(COLUMNS, [row(same, random)]))
    if chosen.against:
        other = read(chosen.against)
        difference = 100 * (same.accuracies.mean() - other.accuracies.mean())
        found = [
            ("two trainings", found_with_pairs(other, same)),
            (f"{GROUP} seeds each", found_with_seeds(other, same, random)),
        ]
        print(f"\nMeans {difference:+.2f} points apart, called different:\n")
        print(
            markdown(
                ("known", "found"), [(name, f"{called / total:.1%} of {total}") for name, (called, total) in found]
            )
        )


if __name__ == "__main__":
    main()
