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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.core import arrays, params
from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict
from darkroom.recommend import histories, ranking
from darkroom.recommend.config import RankingConfig
from darkroom.review import lock
from darkroom.review.revision import WORKSPACE
from darkroom.train.config import TrainConfig
from darkroom.train.setup import build_trainer, notices

FOLDER, SUMMARY = Path("metrics/seeds"), Path("metrics/seeds.json")


def train(seed: int) -> dict[str, float]:
    """Train with `seed` and the other parameters of params.yaml; return validation and test accuracy.

    Of recommendations the test accuracy is HR@10.
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
    answer = partial(predict, trainer.whole, mean=trainer.data.mean, std=trainer.data.std)
    accuracy = _hit_rate(answer, test) if manifest.kind == "history" else _accuracy(answer, test)
    return {"val_accuracy": trainer.summary()["val_accuracy"], "accuracy": accuracy}


def _accuracy(answer: Callable[[np.ndarray], np.ndarray], test: Split) -> float:
    """The fraction of correct predictions; `answer` turns inputs (N, ...) into logits (N, K)."""
    return float((answer(test.inputs).argmax(1) == np.asarray(test.labels)).mean())


def _hit_rate(answer: Callable[[np.ndarray], np.ndarray], test: Split) -> float:
    """HR@10, which the review compares instead of the accuracy, without items that `evaluate.seen_items` leaves out."""
    left_out = histories.left_out("data/arrays", "test", params.load(evaluate=RankingConfig).seen_items)
    found = ranking.in_blocks(answer, test.inputs, test.labels, left_out)
    return float(found.hits(ranking.SHOWN).mean())


def summarise(accuracies: Sequence[float], recipe: str) -> dict[str, float | str | None]:
    """Mean, sample standard deviation (None of one) and number of test accuracies, and the digest of their recipe."""
    std = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    return {"mean": statistics.mean(accuracies), "std": std, "n": len(accuracies), "recipe": recipe}


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
    except DarkroomError as error:
        sys.exit(f"seeds: {error}")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to 2^32 - 1")
    return int(text)


def _run(seeds: Sequence[int]) -> None:
    recipe = lock.require_current_recipe(WORKSPACE)
    for seed in seeds:
        path = FOLDER / f"{seed}.json"
        if _read(path).get("recipe") != recipe:
            write_json(path, {**train(seed), "recipe": recipe})
        print(f"{path}: test accuracy {_read(path)['accuracy']:.2%}")
    results = map(_read, sorted(FOLDER.glob("*.json")))
    summary = summarise([result["accuracy"] for result in results if result.get("recipe") == recipe], recipe)
    write_json(SUMMARY, summary)
    spread = f"± {summary['std']:.2%} (n = {summary['n']})" if summary["n"] > 1 else "(n = 1: no spread)"
    print(f"{SUMMARY}: {summary['mean']:.2%} {spread}")


def _read(path: Path) -> dict[str, Any]:
    """The result in `path`; empty if it is missing or not JSON, so that the seed is trained again."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


if __name__ == "__main__":
    main()
