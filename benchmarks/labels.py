"""Measure how many incorrect labels are found: flip some training labels at random, then rank all by suspicion.

The ranking is that of `darkroom.crossval`. Needs the output of `dvc repro preprocess`.
"""

import time
from dataclasses import replace

import numpy as np

from benchmarks.command import parser
from benchmarks.runs import changed, recipe
from darkroom.core import arrays, processor
from darkroom.core.randomness import numpy_generator
from darkroom.crossval import folds
from darkroom.crossval.out_of_sample import out_of_sample
from darkroom.evaluate import label_errors
from darkroom.models.inference import probabilities


def main() -> None:
    options = parser("labels", __doc__)
    options.add_argument("--flipped", type=float, default=0.03, help="fraction of the labels that is flipped")
    options.add_argument("--top", type=float, default=0.05, help="fraction of the ranking that is searched")
    options.add_argument("--folds", type=int, default=3, help="number of folds")
    options.add_argument("--recipe", default="sprint", help="a file in recipes/ without .yaml")
    options.add_argument("--seeds", type=int, default=3, help="repetitions")
    chosen = options.parse_args()
    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    classes = len(manifest.classes)
    recalls = []
    for seed in range(chosen.seeds):
        random = numpy_generator(seed, "flips")
        flipped = random.choice(len(train), round(chosen.flipped * len(train)), replace=False)
        labels = np.array(train.labels)
        labels[flipped] = (labels[flipped] + random.integers(1, classes, len(flipped))) % classes
        settings = changed({**recipe(chosen.recipe), "seed": seed})
        logits = np.empty((len(train), classes), np.float32)
        started = time.perf_counter()
        recipe_of = (settings.seed, settings.model, settings.train)
        mislabelled = replace(train, labels=labels)
        fold = folds.assign(train.ids, labels, None, chosen.folds, seed)
        for indices, found, _ in out_of_sample(mislabelled, val, manifest, *recipe_of, fold):
            logits[indices] = found
        margins, suspected, _ = label_errors.suspicion(probabilities(logits), labels)
        top = np.argsort(-margins, kind="stable")[: round(chosen.top * len(train))]
        recalls.append(np.isin(flipped, top).mean())
        precision = np.isin(np.flatnonzero(suspected), flipped).mean()
        print(
            f"seed {seed}: {recalls[-1]:.1%} of {len(flipped)} flipped labels are among the {chosen.top:.0%} most "
            f"suspect; {suspected.sum()} labels are reported, {precision:.1%} of them flipped; "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    print(
        f"\n{manifest.title}, {processor.describe()}, {chosen.folds} folds of {chosen.recipe}: "
        f"{np.mean(recalls):.1%} ({min(recalls):.1%} to {max(recalls):.1%})"
    )


if __name__ == "__main__":
    main()
