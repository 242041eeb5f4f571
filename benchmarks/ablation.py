"""Measure what each part of a recipe contributes: change one thing at a time and compare with the unchanged recipe.

Needs the output of `dvc repro preprocess`. Each training runs in its own process. The variants take turns over the
seeds, so a difference is between runs with the same seed and the same order of examples. Choose by the validation
accuracy; the test accuracy shows what the choice brought.
"""

import statistics

from benchmarks.command import parser
from benchmarks.runs import recipe, run
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor

BASE = "the recipe"
COLUMNS = (
    "change",
    "validation accuracy, %",
    "test accuracy, %",
    "difference from the recipe, points",
    "time relative to the recipe",
)


def main() -> None:
    options = parser("ablation", __doc__)
    options.add_argument("recipe", nargs="?", default="sprint", help="a file in recipes/ without .yaml")
    options.add_argument("--seeds", type=int, default=3, help="trainings per variant")
    options.add_argument("--epochs", type=float, help="epochs instead of the recipe's")
    names = ", ".join(levers(0)).replace("%", "%%")
    options.add_argument(
        "--levers", nargs="+", choices=levers(0), metavar="LEVER", help=f"some of (default: all): {names}"
    )
    chosen = options.parse_args()
    base = recipe(chosen.recipe) | ({"train.epochs": chosen.epochs} if chosen.epochs else {})
    changed = {name: base | changes for name, changes in levers(base["train.lr"]).items()}
    wanted = chosen.levers or changed
    variants = {BASE: base} | {name: changed[name] for name in wanted if changed[name] != base}
    runs: dict[str, list[dict]] = {name: [] for name in variants}
    for seed in range(chosen.seeds):
        for name, changes in variants.items():
            measured = run("ours", **changes, seed=seed)
            runs[name].append(measured)
            print(f"seed {seed}, {name}: {measured['accuracy']:.2%} in {measured['seconds']:.1f} s", flush=True)

    manifest = arrays.read_manifest("data/arrays")
    print(
        f"\n{manifest.title}, {processor.describe()}; {chosen.recipe}, {base['train.epochs']:g} epochs, "
        f"{chosen.seeds} seeds taking turns\n"
    )
    print(markdown(COLUMNS, (_row(name, measured, runs[BASE]) for name, measured in runs.items())))


def levers(lr: float) -> dict[str, dict[str, object]]:
    """The parameters that each lever changes in a recipe with the learning rate `lr`."""
    sgd = {"train.optimizer": "sgd", "train.lr": 0.2, "train.momentum": 0.9, "train.weight_decay": 0.0005}
    return {
        "fp32 instead of bf16": {"train.precision": "fp32"},
        "AdamW instead of Muon": {"train.optimizer": "adamw", "train.lr": 0.01},
        "SGD instead of Muon": sgd,
        "the classic network": {"model.name": "cnn"},
        "no label smoothing": {"train.label_smoothing": 0.0},
        "no weight decay": {"train.weight_decay": 0.0},
        "no warm-up": {"train.warmup_fraction": 0.0},
        "constant learning rate": {"train.schedule": "constant"},
        "cosine schedule": {"train.schedule": "cosine"},
        "half the learning rate": {"train.lr": lr / 2},
        "twice the learning rate": {"train.lr": 2 * lr},
        "gradients clipped to norm 1": {"train.grad_clip_norm": 1.0},
        "EMA of the weights, decay 0.99": {"train.ema_decay": 0.99},
        "no flips": {"train.augment.flip": "none"},
        "random flips": {"train.augment.flip": "random"},
        "alternating flips": {"train.augment.flip": "alternating"},
        "shifts by 1 pixel": {"train.augment.shift": 1},
        "random erasing of 25 % of the images": {"train.augment.random_erasing": 0.25},
        "random crops of at least 80 %": {"train.augment.min_crop_area": 0.8},
        "mixup, alpha 0.2": {"train.augment.mixup": 0.2},
        "CutMix, alpha 1": {"train.augment.cutmix": 1.0},
    }


def _row(name: str, measured: list[dict], base: list[dict]) -> list[str]:
    means = [f"{statistics.mean(100 * one[key] for one in measured):.2f}" for key in ("val_accuracy", "accuracy")]
    if name == BASE:
        return [name, *means, "", ""]
    pairs = list(zip(measured, base, strict=True))
    points = [100 * (one["accuracy"] - other["accuracy"]) for one, other in pairs]
    times = [one["seconds"] / other["seconds"] for one, other in pairs]
    difference = f"{statistics.mean(points):+.2f} ({min(points):+.2f} to {max(points):+.2f})"
    return [name, *means, difference, median_range(times, 2)]


if __name__ == "__main__":
    main()
