"""Measure what active learning saves: rounds of label-and-train on the training split, whose labels are hidden.

In each round a strategy of `darkroom.acquire` chooses examples, their labels are looked up, and a network is trained on
all labels so far. Every strategy starts from the same first batch, except those that need no model. `--learner recipe`
trains the network of a recipe; `--learner head` fits a logistic regression on the frozen features of models/pretrained,
as for the cold start. Near duplicates are not searched. Needs the output of `dvc repro preprocess`, and for the head
that of `dvc repro pretrained`.

    python -m benchmarks.acquisition
    python -m benchmarks.acquisition --learner head --folder FOLDER --budgets 10 20 40 60 100 150 200 --target 200
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, changed, recipe
from benchmarks.tables import markdown
from darkroom.acquire import __main__ as acquire
from darkroom.acquire import embedding
from darkroom.acquire.embedding import IMAGES, PRETRAINED, TRAINED, Predictions, Source
from darkroom.acquire.strategies import NEED_MODEL, STRATEGIES, Pool
from darkroom.core import arrays, params, processor
from darkroom.core.arrays import Manifest, Split
from darkroom.core.randomness import numpy_generator
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict
from darkroom.train import features
from darkroom.train.setup import build_trainer

_RANDOM = "random"


class Recipe:
    """Trains the network of a recipe; its features change from round to round."""

    def __init__(self, name: str, seed: int, manifest: Manifest, pool: Split, measured: Split):
        self.settings = changed({**recipe(name), "seed": seed})
        self.manifest, self.pool, self.measured = manifest, pool, measured
        self.features = _everything(Source(IMAGES, manifest), pool)  # before the first training
        self.predictions: Predictions | None = None

    def fit(self, chosen: np.ndarray, random: np.random.Generator) -> float:
        """Train on the examples `chosen` (n,) of the pool; return the accuracy."""
        uncropped = np.array(self.pool.uncropped[chosen])
        split = Split(uncropped, self.pool.labels[chosen], self.pool.ids[chosen], self.pool.size)
        recipe_of = (self.settings.seed, self.settings.model, self.settings.train)
        trainer = build_trainer(*recipe_of, self.manifest, split, self.measured)
        list(trainer.epochs())
        logits = predict(trainer.whole, self.measured.inputs, trainer.data.mean, trainer.data.std)
        built = {"family": self.settings.model.name, "arguments": self.settings.model.arguments()}
        source = Source(TRAINED, trainer.data, network=trainer.whole, built=built)
        self.features = _everything(source, self.pool)
        self.predictions = embedding.summarised(source.probabilities(self.pool), np.arange(len(self.pool)), random)
        return float((logits.argmax(1) == self.measured.labels).mean())


class Frozen:
    """The features of models/pretrained of all training examples and of those that are measured."""

    def __init__(self, manifest: Manifest, train: Split, measured: Split):
        source = embedding.find(PRETRAINED, params.load(model=ModelConfig))
        self.measured, self.classes, self.reduced = measured, len(manifest.classes), _everything(source, train)
        found, held_out = (source.rows(split)(np.arange(len(split))) for split in (train, measured))
        mean, std = found.mean(0), found.std(0) + 1e-6
        self.inputs, self.held_out = (found - mean) / std, (held_out - mean) / std


class Head:
    """Fits a logistic regression on frozen features; `rows` (N,) are the training examples in the pool."""

    def __init__(self, frozen: Frozen, pool: Split, rows: np.ndarray):
        self.pool, self.measured, self.classes = pool, frozen.measured, frozen.classes
        self.features, self.predictions = frozen.reduced[rows], None
        self.inputs, self.held_out = frozen.inputs[rows], frozen.held_out

    def fit(self, chosen: np.ndarray, random: np.random.Generator) -> float:
        """Fit on the examples `chosen` (n,) of the pool; return the accuracy."""
        labels = self.pool.labels[chosen]
        if len(np.unique(labels)) < 2:
            return float((self.measured.labels == labels[0]).mean())
        model = LogisticRegression(C=0.01, max_iter=500).fit(self.inputs[chosen], labels)

        def predicted(indices: np.ndarray) -> np.ndarray:
            found = np.zeros((len(indices), self.classes))
            found[:, model.classes_] = model.predict_proba(self.inputs[indices])
            return found

        self.predictions = embedding.summarised(predicted, np.arange(len(self.pool)), random)
        return float((model.predict(self.held_out) == self.measured.labels).mean())


def rounds(learner: Recipe | Head, name: str, budgets: Sequence[int], manifest: Manifest, seed: int) -> list[float]:
    """The accuracy at each budget of labels, with the strategy `name`."""
    chosen, accuracies = np.empty(0, np.int64), []
    for budget in budgets:
        has_model = learner.predictions is not None
        strategy = acquire.strategy(name, has_model, len(chosen), len(manifest.classes))
        if strategy in NEED_MODEL and not has_model:
            strategy = _RANDOM
        random = numpy_generator(seed, "round", budget)
        free = np.setdiff1d(np.arange(len(learner.pool)), chosen)
        predictions = None if learner.predictions is None else _part(learner.predictions, free)
        pool = Pool(learner.features[free], learner.features[chosen], predictions, manifest.classes)
        count = budget - len(chosen)
        indices = [choice.index for choice in islice(STRATEGIES[strategy](pool, count, random), count)]
        chosen = np.concatenate([chosen, free[indices]])
        accuracies.append(learner.fit(chosen, random))
    return accuracies


def needed(budgets: Sequence[int], accuracies: np.ndarray, target: float) -> float:
    """The number of labels at which a curve reaches the accuracy `target`, by interpolation; infinite if never."""
    best = np.maximum.accumulate(accuracies)
    reached = int(np.searchsorted(best, target))
    if reached == len(best):
        return np.inf
    if not reached:
        return float(budgets[0])
    part = (target - best[reached - 1]) / (best[reached] - best[reached - 1])
    low, high = np.log(budgets[reached - 1]), np.log(budgets[reached])
    return float(np.exp(low + part * (high - low)))


def report(curves: Mapping[str, np.ndarray], budgets: Sequence[int], target: int) -> str:
    """A table of the curves (seeds, budgets) of each strategy: accuracies, areas and labels needed against random."""
    reference, rows = curves[_RANDOM], []
    goal = float(np.interp(target, budgets, reference.mean(0)))
    for name, found in curves.items():
        areas = np.trapezoid(found, budgets, axis=1) / np.trapezoid(reference, budgets, axis=1)
        labels = needed(budgets, found.mean(0), goal)
        cells = [f"{mean:.1%} ± {std:.1%}" for mean, std in zip(found.mean(0), found.std(0, ddof=1), strict=True)]
        ratio = f"{labels / target:.2f}" if np.isfinite(labels) else "> 1"
        rows.append([name, *cells, f"{areas.mean():.3f} ± {areas.std(ddof=1):.3f}", ratio])
    head = ["strategy", *(f"{budget:,}" for budget in budgets), "area", f"labels for {goal:.1%}"]
    return markdown(head, rows)


def main() -> None:
    options = parser("acquisition", __doc__)
    options.add_argument("--folder", type=Path, default=Path(), help="a project with data/arrays")
    options.add_argument("--learner", choices=("recipe", "head"), default="recipe")
    options.add_argument("--recipe", default="sprint", help="a file in recipes/ without .yaml")
    options.add_argument("--budgets", type=int, nargs="+", default=[100, 200, 400, 700, 1000, 1400, 2000])
    options.add_argument("--target", type=int, default=2000, help="labels of random whose accuracy is to be reached")
    options.add_argument("--pool", type=int, default=20_000, help="training examples to choose from, at most")
    options.add_argument("--strategies", nargs="+", default=[*STRATEGIES, "auto"])
    options.add_argument("--split", choices=("val", "test"), default="val", help="where accuracies are measured")
    options.add_argument("--seeds", type=int, default=3, help="repetitions, at least 2")
    chosen = options.parse_args()
    os.chdir(chosen.folder)
    names = list(dict.fromkeys([_RANDOM, *chosen.strategies]))
    manifest, train = arrays.read_manifest(ARRAYS), arrays.read_split(ARRAYS, "train")
    measured, started = arrays.read_split(ARRAYS, chosen.split), time.perf_counter()
    curves: dict[str, list[list[float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=chosen.seeds * len(names), disable=None) as bar:
        features.FOLDER = Path(folder)  # not among the features that the project keeps
        frozen = Frozen(manifest, train, measured) if chosen.learner == "head" else None
        for seed in range(chosen.seeds):
            rows = np.sort(numpy_generator(seed, "pool").permutation(len(train))[: chosen.pool])
            pool = Split(np.array(train.uncropped[rows]), np.array(train.labels[rows]), train.ids[rows], train.size)
            for name in names:
                if chosen.learner == "head":
                    learner = Head(frozen, pool, rows)
                else:
                    learner = Recipe(chosen.recipe, seed, manifest, pool, measured)
                curves[name].append(rounds(learner, name, chosen.budgets, manifest, seed))
                bar.update()
    print(report({name: np.array(found) for name, found in curves.items()}, chosen.budgets, chosen.target))
    print(
        f"\n{manifest.title}, {len(pool):,} examples to choose from, accuracy on {chosen.split}, {chosen.learner}, "
        f"{chosen.seeds} seeds (± standard deviation), {processor.describe()}: {time.perf_counter() - started:.0f} s"
    )


def _everything(source: Source, split: Split) -> np.ndarray:
    """The features (N, D) float32 of a split, reduced."""
    rows = source.rows(split)
    axes = embedding.directions(rows, len(split), numpy_generator(0, "directions"))
    return embedding.reduced(rows, np.arange(len(split)), axes)


def _part(found: Predictions, rows: np.ndarray) -> Predictions:
    return Predictions(**{name: values[rows] for name, values in vars(found).items()})


if __name__ == "__main__":
    main()
