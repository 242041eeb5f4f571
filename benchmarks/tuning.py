"""Compare the ways of tuning a pretrained network: accuracy, trained parameters, memory of the optimiser, time.

Needs the outputs of `dvc repro train` with the recipe finetune on a folder of photos: data/arrays and
models/pretrained. All ways train for the same epochs, each with its own learning rate; the ways take turns over the
seeds, each training in its own process. Results are kept in the file --results, so an interrupted comparison goes on.
"""

import json
import statistics
from pathlib import Path

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, run
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor
from darkroom.core.outputs import write_json
from darkroom.weights import pretrained

LR = {"all": 0.001, "head": 0.01, "lora": 0.01, "adalora": 0.01}  # peak learning rates
COLUMNS = ("tune", "test accuracy, %", "trained parameters", "optimiser, bytes", "seconds", "images/s")
BASE = "all"  # with which the others are compared


def main() -> None:
    options = parser("tuning", __doc__)
    options.add_argument("--ways", nargs="+", choices=LR, default=["all", "head", "lora"])
    options.add_argument("--seeds", type=int, default=3, help="trainings of each way")
    options.add_argument("--epochs", type=float, default=4.0)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further changes of params.yaml")
    options.add_argument("--results", type=Path, default=Path(".darkroom/benchmarks/tuning.json"))
    chosen = options.parse_args()
    manifest, weights = arrays.read_manifest(ARRAYS), pretrained.read(pretrained.FOLDER)
    if weights is None:
        raise SystemExit("models/pretrained is empty: run `python -m darkroom.recipe finetune && dvc repro train`.")
    common = {
        "model.name": weights.family,
        "model.pretrained": weights.name,
        "train.epochs": chosen.epochs,
        "train.batch_size": chosen.batch_size,
        "train.optimizer": "adamw",
        "train.weight_decay": 0.01,
        "train.schedule": "cosine",
        "train.warmup_fraction": 0.05,
    }
    runs: dict[str, list[dict]] = {way: [] for way in chosen.ways}
    for seed in range(chosen.seeds):
        for way in chosen.ways:
            changes = common | {"train.tune": way, "train.lr": LR[way], "seed": seed}
            changes |= dict(change.split("=", 1) for change in chosen.set)
            measured = _measured(chosen.results, manifest.sha256, changes)
            runs[way].append(measured)
            print(f"seed {seed}, {way}: {measured['accuracy']:.2%} in {measured['seconds']:.1f} s", flush=True)

    print(
        f"\n{manifest.title}, {weights.title}; {processor.describe()}; {chosen.epochs:g} epochs, {chosen.seeds} seeds "
        "taking turns; medians (and ranges)\n"
    )
    print(markdown(COLUMNS, (_row(way, measured) for way, measured in runs.items())))
    for way in (way for way in runs if BASE in runs and way != BASE):
        print(f"\n{way} against {BASE}: {_compared(runs[way], runs[BASE])}")


def _measured(results: Path, data: str, changes: dict[str, object]) -> dict[str, float]:
    """The measurements of one training, from `results` if it has been run before."""
    kept = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    key = json.dumps([data, changes], sort_keys=True)
    if key not in kept:
        kept[key] = run("ours", **changes)
        results.parent.mkdir(parents=True, exist_ok=True)
        write_json(results, kept)
    return kept[key]


def _row(way: str, runs: list[dict]) -> tuple[str, ...]:
    accuracies = [100 * measured["accuracy"] for measured in runs]
    seconds = [measured["seconds"] + measured.get("feature_seconds", 0.0) for measured in runs]
    return (
        way,
        median_range(accuracies, 2),
        f"{runs[0]['trainable_parameters']:,}",
        f"{runs[0]['optimizer_bytes']:,}",
        median_range(seconds, 1),
        median_range([measured["images_per_second"] for measured in runs], 0),
    )


def _compared(runs: list[dict], base: list[dict]) -> str:
    pairs = list(zip(runs, base, strict=True))
    points = statistics.mean(100 * (mine["accuracy"] - other["accuracy"]) for mine, other in pairs)
    parts = [f"{points:+.2f} points"]
    for key, title in (
        ("trainable_parameters", "of the trained parameters"),
        ("optimizer_bytes", "of the optimiser's memory"),
        ("seconds", "of the time"),
    ):
        parts.append(f"{statistics.median(mine[key] / other[key] for mine, other in pairs):.1%} {title}")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
