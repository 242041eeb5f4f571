"""Train with other seeds, to measure how much the result depends on the seed.

    python -m darkroom.seeds 1 2 3

Initial weights, order and augmentation differ; the data, their split and all other parameters are those of the
pipeline. Run it after `dvc repro`. Each training writes metrics/seeds/<seed>.json. metrics/seeds.json summarises the
results that belong to the current code, data and parameters. Commit both. Seeds with such a result are skipped.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.core import arrays, params
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict
from darkroom.recommend import histories
from darkroom.recommend.config import RankingConfig
from darkroom.review import lock, recommended
from darkroom.review.revision import WORKSPACE
from darkroom.train.config import TrainConfig
from darkroom.train.setup import build_trainer, notices

FOLDER, SUMMARY = Path("metrics/seeds"), Path("metrics/seeds.json")
MEASURED = {"accuracy": "test accuracy", recommended.KEY: f"test {recommended.NAME}"}  # by key of a result


def train(seed: int) -> dict[str, float]:
    """Train with `seed` and the other parameters of params.yaml; return the validation accuracy and what is measured.

    That is the test accuracy, or HR@10 of recommendations on the test set, which the review compares.
    """
    model, settings = params.load(model=ModelConfig, train=TrainConfig)
    manifest = arrays.read_manifest("data/arrays")
    train, val, test = (arrays.read_split("data/arrays", name) for name in arrays.SPLITS)
    unlabelled = arrays.read_unlabelled("data/arrays")
    trainer = build_trainer(seed, model, settings, manifest, train, val, unlabelled=unlabelled)
    for notice in notices(settings, trainer):
        print(f"seed {seed}: {notice}")
    for record in trainer.epochs():
        print(f"seed {seed}, {record}", flush=True)
    logits = partial(predict, trainer.whole, mean=trainer.data.mean, std=trainer.data.std)
    if manifest.kind == "history":
        seen_items = params.load(evaluate=RankingConfig).seen_items
        key, found = recommended.KEY, histories.hits("data/arrays", "test", logits, seen_items)
    else:
        key, found = "accuracy", logits(test.inputs).argmax(1) == np.asarray(test.labels)
    return {"val_accuracy": trainer.summary()["val_accuracy"], key: float(found.mean())}


def summarise(results: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation (None of one) and number of results."""
    std = statistics.stdev(results) if len(results) > 1 else None
    return {"mean": statistics.mean(results), "std": std, "n": len(results)}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if a training fails, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", type=_seed, nargs="+", metavar="SEED", help="a whole number from 0 to 2^32 - 1")
    seeds = parser.parse_args(arguments).seeds
    if len(set(seeds)) < len(seeds):
        parser.error("each SEED must be given only once")
    try:
        _run(seeds)
    except (DarkroomError, OSError) as error:
        sys.exit(f"seeds: {error}")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to 2^32 - 1")
    return int(text)


def _run(seeds: Sequence[int]) -> None:
    known = _determinants()
    for seed in seeds:
        path = FOLDER / f"{seed}.json"
        if not known.items() <= _read(path).items():
            _require_same(known)  # an earlier training took its time
            found = train(seed)
            _require_same(known)
            write_json(path, {**found, **known})
        name, value = _measured(_read(path))
        print(f"{path}: {name} {value:.2%}")
    results = [result for result in map(_read, sorted(FOLDER.glob("*.json"))) if known.items() <= result.items()]
    summary = summarise([_measured(result)[1] for result in results])
    write_json(SUMMARY, {**summary, **known})
    spread = f"± {summary['std']:.2%} (n = {summary['n']})" if summary["n"] > 1 else "(n = 1: no spread)"
    print(f"{SUMMARY}: {name} {summary['mean']:.2%} {spread}")


def _determinants() -> dict[str, str]:
    """What determines a result but the seed: the digest of the recipe, and of histories which items are ranked."""
    found = {"recipe": lock.require_current_recipe(WORKSPACE)}
    if arrays.read_manifest("data/arrays").kind == "history":
        found["seen_items"] = params.load(evaluate=RankingConfig).seen_items
    return found


def _require_same(known: Mapping[str, str]) -> None:
    if _determinants() != known:
        raise DarkroomError(
            "parameters, code or data changed meanwhile: run the command again. Finished seeds are kept."
        )


def _measured(result: Mapping[str, Any]) -> tuple[str, float]:
    """The name of what was measured on the test set, for people, and its value."""
    key = next(key for key in MEASURED if key in result)
    return MEASURED[key], result[key]


def _read(path: Path) -> dict[str, Any]:
    """The result in `path`; empty if it is missing or not JSON, so that the seed is trained again."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


if __name__ == "__main__":
    main()
