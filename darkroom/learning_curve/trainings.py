"""Trainings on growing parts of the training split. Each finished one is kept, so an interrupted command goes on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.core.randomness import derive_seed
from darkroom.crossval.out_of_sample import subset
from darkroom.models import hardware
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict
from darkroom.recommend import histories
from darkroom.train import initial_weights
from darkroom.train.config import TrainConfig
from darkroom.train.fingerprint import fingerprint
from darkroom.train.setup import build_trainer

FOLDER = Path(".darkroom/learning_curve")
CODE = tuple(f"darkroom/{room}" for room in ("core", "learning_curve", "models", "recommend", "train", "weights"))


@dataclass(frozen=True)
class Training:
    """A training to do: with which labels and which seed."""

    fraction: Fraction
    seed: int
    indices: np.ndarray  # (n,) int64: examples of the training split, sorted

    def __str__(self) -> str:
        return f"{self.fraction} of the labels ({len(self.indices):,}), seed {self.seed}"


@dataclass(frozen=True)
class Recipe:
    """What a training is done with, besides its labels and seed."""

    model: ModelConfig
    settings: TrainConfig
    manifest: Manifest
    train: Split
    val: Split
    unlabelled: Split | None
    seen_items: str  # evaluate.seen_items

    def run(self, training: Training) -> int:
        """Train, and return the number of incorrect predictions on the validation split.

        Those of histories are the ones whose next item is not among the first SHOWN.
        """
        with subset(self.train, training.indices) as part:
            trainer = build_trainer(
                training.seed, self.model, self.settings, self.manifest, part, self.val, unlabelled=self.unlabelled
            )
            try:
                for _ in trainer.epochs():
                    pass
            except DarkroomError as error:
                raise DarkroomError(f"with {training}: {error}") from None
        logits = partial(predict, trainer.whole, mean=trainer.data.mean, std=trainer.data.std)
        if self.manifest.kind == "history":
            return int((~histories.hits("data/arrays", "val", logits, self.seen_items)).sum())
        return int((logits(self.val.inputs).argmax(1) != self.val.labels).sum())

    def key(self, training: Training) -> str:
        """A key for everything that determines the result of a training."""
        weights = initial_weights.find(self.model)
        labelled = json.dumps(self.train.ids[training.indices].tolist()).encode()
        determinants = {
            "model": [self.model.name, initial_weights.arguments(self.model, weights)],
            "pretrained": asdict(weights) if weights else None,
            "train": self.settings.model_dump(),
            "data": self.manifest.sha256,
            "labelled": hashlib.blake2b(labelled, digest_size=16).hexdigest(),
            "seed": training.seed,
            "seen_items": self.seen_items if self.manifest.kind == "history" else None,
        }
        return fingerprint(determinants, hardware.choose_device(self.settings.device), CODE)


def find_recipe(model: ModelConfig, settings: TrainConfig, seen_items: str) -> Recipe:
    """The recipe of params.yaml on data/arrays, without what would let other labels have influence.

    That is a teacher, which has seen all labels, and the choice of weights by the validation split.
    """
    alone = settings.distill.model_copy(update={"teacher": "none"})
    settings = settings.model_copy(update={"keep_weights": "last", "early_stopping": 0, "distill": alone})
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    manifest, unlabelled = arrays.read_manifest("data/arrays"), arrays.read_unlabelled("data/arrays")
    arrays.require_labels(manifest)
    return Recipe(model, settings, manifest, train, val, unlabelled, seen_items)


def plan(recipe: Recipe, fractions: Sequence[Fraction], seeds: int) -> list[Training]:
    """The trainings for each fraction and the seeds 1 to `seeds`, fewest labels first.

    Parts of histories are users: hardly a class, an item, has several examples.
    """
    train, columns = recipe.train, arrays.read_columns("data/arrays", "train")
    groups, labels = columns.get("group"), np.asarray(train.labels)
    if recipe.manifest.kind == "history":
        groups, labels = columns[histories.USER], np.zeros(len(train), np.int64)
    found = []
    for seed in range(1, seeds + 1):
        order = shuffled(train.ids, groups, seed)
        found += [Training(fraction, seed, nested(labels, order, fraction)) for fraction in fractions]
    return sorted(found, key=lambda training: training.fraction)


def shuffled(ids: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """The indices (N,) int64 in a random order that depends on seed and ids only; groups (N,) stay together."""
    names = ids if groups is None else np.where(np.equal(groups, ""), ids, groups)
    ranks = [(derive_seed(seed, "learning curve", name), name) for name in names.tolist()]
    return np.array(sorted(range(len(ids)), key=lambda index: (*ranks[index], ids.item(index))), dtype=np.int64)


def nested(labels: np.ndarray, order: np.ndarray, fraction: Fraction) -> np.ndarray:
    """The first examples (n,) int64, sorted, of each class in `order` (N,): this fraction of them, at least one.

    A larger fraction has the examples of a smaller one and more.
    """
    of_order = np.asarray(labels)[order]
    members = (order[of_order == label] for label in np.unique(of_order))
    return np.sort(np.concatenate([found[: max(1, round(len(found) * fraction))] for found in members]))


def run(recipe: Recipe, trainings: Sequence[Training]) -> Iterator[tuple[Training, int, bool]]:
    """Each training with its incorrect validation predictions, and whether it was kept from an earlier command."""
    # Before the first training: it may load more code, which would change the keys
    paths = [FOLDER / f"{recipe.key(training)}.json" for training in trainings]
    for training, path in zip(trainings, paths, strict=True):
        incorrect = _read(path)
        kept = incorrect is not None
        if not kept:
            incorrect = recipe.run(training)
            write_json(path, {"incorrect": incorrect})
        yield training, incorrect, kept


def _read(path: Path) -> int | None:
    """The result in `path`; None if it is missing or broken, so that the training is done again."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["incorrect"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
