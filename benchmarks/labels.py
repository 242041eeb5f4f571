"""How many wrong labels the ranking finds: some labels are flipped at random, and looked for among the most suspect.

The training set by cross-validation, by the recipe of params.yaml or the one named; needs what `dvc repro preprocess` leaves.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from benchmarks.runs import changed, recipe
from darkroom.core import arrays, processor
from darkroom.core.randomness import numpy_generator
from darkroom.crossval import out_of_sample
from darkroom.evaluate import label_errors
from darkroom.models import hardware, inference
from darkroom.train import memory


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flipped", type=float, default=0.03, help="share of the labels that is made wrong (default: 0.03)"
    )
    parser.add_argument(
        "--top", type=float, default=0.05, help="share of the ranking that is looked at (default: 0.05)"
    )
    parser.add_argument("--folds", type=int, default=3, help="parts of the training set (default: 3)")
    parser.add_argument("--recipe", default="sprint", help="a file in recipes/ (default: sprint)")
    parser.add_argument("--seeds", type=int, default=3, help="how often (default: 3)")
    chosen = parser.parse_args()
    memory.keep_freed()
    hardware.use_threads("auto")
    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    found = []
    for seed in range(chosen.seeds):
        random = numpy_generator(seed, "flips")
        flipped = random.choice(len(train), round(chosen.flipped * len(train)), replace=False)
        given = np.array(train.labels)
        given[flipped] = (given[flipped] + random.integers(1, len(manifest.classes), len(flipped))) % len(
            manifest.classes
        )
        settings = changed({**recipe(chosen.recipe), "seed": seed})
        logits = np.empty((len(train), len(manifest.classes)), np.float32)
        started = time.perf_counter()
        for fold, answers in out_of_sample(replace(train, labels=given), val, manifest, settings, chosen.folds):
            logits[fold] = answers
        margins, suspected = label_errors.suspicion(inference.probabilities(logits), given)
        top = np.argsort(-margins, kind="stable")[: round(chosen.top * len(train))]
        hit = np.isin(flipped, top).mean()
        found.append(hit)
        print(
            f"seed {seed}: {hit:.1%} of {len(flipped)} flipped labels are among the {chosen.top:.0%} most suspect; {suspected.sum()} labels are called "
            f"probably wrong, {np.isin(np.flatnonzero(suspected), flipped).mean():.1%} of them flipped; {time.perf_counter() - started:.0f} s",
            flush=True,
        )
    print(
        f"\n{manifest.title}, {processor.describe()}, {chosen.folds} folds of {chosen.recipe}: {np.mean(found):.1%} ({min(found):.1%} to {max(found):.1%})"
    )


if __name__ == "__main__":
    main()
