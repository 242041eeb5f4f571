"""What each lever of a recipe brings: the recipe with one thing changed at a time, against the recipe as it is.

Needs what `dvc repro preprocess` leaves. Each training is a process of its own, and all take turns over the seeds, so that
a difference is between runs of the same seed, and so of the same data order. Choose by the validation column: the test's
is there to tell what the choice brought.
"""

import argparse
import statistics

from benchmarks.runs import middle, recipe, run
from darkroom.core import arrays, processor


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipe", nargs="?", default="sprint", help="a file in recipes/, without its .yaml (default: sprint)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default: 3)")
    parser.add_argument("--epochs", type=float, help="epochs, instead of the recipe's")
    parser.add_argument(
        "--levers",
        nargs="+",
        choices=levers(0),
        metavar="LEVER",
        help="some of: " + ", ".join(levers(0)).replace("%", "%%"),
    )
    chosen = parser.parse_args()
    base = recipe(chosen.recipe) | ({"train.epochs": chosen.epochs} if chosen.epochs else {})
    changed = {
        name: base | changes
        for name, changes in levers(base["train.lr"]).items()
        if not chosen.levers or name in chosen.levers
    }
    variants = {"the recipe": base} | {name: changes for name, changes in changed.items() if changes != base}
    runs: dict[str, list[dict]] = {name: [] for name in variants}
    for seed in range(chosen.seeds):
        for name, changes in variants.items():
            runs[name].append(run("ours", **changes, seed=seed))
            print(
                f"seed {seed}, {name}: {runs[name][-1]['accuracy']:.2%} in {runs[name][-1]['seconds']:.1f} s",
                flush=True,
            )

    manifest = arrays.read_manifest("data/arrays")
    print(
        f"\n{manifest.title}, {processor.describe()}; {chosen.recipe}, {base['train.epochs']:g} epochs, {chosen.seeds} seeds taking turns\n"
    )
    print(
        "| changed | validation accuracy, % | test accuracy, % | against the recipe, points | time against the recipe |"
    )
    print("|---|---|---|---|---|")
    for name, measured in runs.items():
        validation, accuracy = (
            statistics.mean(100 * one[key] for one in measured) for key in ("val_accuracy", "accuracy")
        )
        points = [
            100 * (one["accuracy"] - other["accuracy"]) for one, other in zip(measured, runs["the recipe"], strict=True)
        ]
        times = [one["seconds"] / other["seconds"] for one, other in zip(measured, runs["the recipe"], strict=True)]
        difference = (
            f"{statistics.mean(points):+.2f} ({min(points):+.2f} to {max(points):+.2f})" if name != "the recipe" else ""
        )
        print(
            f"| {name} | {validation:.2f} | {accuracy:.2f} | {difference} | {middle(times, 2) if name != 'the recipe' else ''} |"
        )


def levers(rate: float) -> dict[str, dict[str, object]]:
    """The parameters that each lever changes in a recipe of the learning rate `rate`."""
    return {
        "fp32 for bf16": {"train.precision": "fp32"},
        "AdamW for Muon": {"train.optimizer": "adamw", "train.lr": 0.01},
        "SGD for Muon": {
            "train.optimizer": "sgd",
            "train.lr": 0.2,
            "train.momentum": 0.9,
            "train.weight_decay": 0.0005,
        },
        "the classic network": {"model.name": "cnn"},
        "no label smoothing": {"train.label_smoothing": 0.0},
        "no weight decay": {"train.weight_decay": 0.0},
        "no warm-up": {"train.warmup_fraction": 0.0},
        "a constant rate": {"train.schedule": "constant"},
        "a cosine": {"train.schedule": "cosine"},
        "half the rate": {"train.lr": rate / 2},
        "twice the rate": {"train.lr": 2 * rate},
        "clipping at norm 1": {"train.grad_clip_norm": 1.0},
        "averaged weights (0.99 a step)": {"train.ema_decay": 0.99},
        "no flips": {"train.augment.flip": "none"},
        "random flips": {"train.augment.flip": "random"},
        "alternating flips": {"train.augment.flip": "alternating"},
        "shifts of 1 pixel": {"train.augment.shift": 1},
        "erasing a quarter of the pictures": {"train.augment.random_erasing": 0.25},
        "cropping to 80 %": {"train.augment.min_crop_area": 0.8},
        "mixup 0.2": {"train.augment.mixup": 0.2},
        "CutMix 1": {"train.augment.cutmix": 1.0},
    }


if __name__ == "__main__":
    main()
