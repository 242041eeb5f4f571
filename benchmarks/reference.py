"""Compare with the usual training loop: the time to its accuracy, and the speed of the same network.

Needs the output of `dvc repro preprocess` for a dataset of 28 x 28 grey images. Each training runs in its own process,
and the kinds take turns, so that other load on the machine affects all of them.
"""

import statistics

from benchmarks.command import parser
from benchmarks.runs import recipe, run
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor


def main() -> None:
    options = parser("reference", __doc__)
    options.add_argument("--seeds", type=int, default=5, help="trainings of each kind")
    options.add_argument("--epochs", type=int, default=10, help="epochs of the usual loop")
    options.add_argument("--workers", type=int, default=0, help="DataLoader processes of the usual loop")
    options.add_argument("--recipe", default="sprint", help="our recipe, a file in recipes/ without .yaml")
    options.add_argument(
        "--example",
        action="store_true",
        help="compare with PyTorch's published MNIST example (14 epochs) instead of the usual loop",
    )
    chosen = options.parse_args()
    kind = "example" if chosen.example else "usual"
    theirs, ours, same = [], [], []
    for seed in range(chosen.seeds):
        epochs = {"epochs": chosen.epochs} if kind == "usual" else {}
        theirs.append(run(kind, seed=seed, workers=chosen.workers, **epochs))
        ours.append(run("ours", **recipe(chosen.recipe), seed=seed))
        same.append(run("ours", **{"model.name": "cnn", "model.cnn.dropout": 0.0, "train.epochs": 1, "seed": seed}))
        pair = (f"{one['accuracy']:.2%} in {one['seconds']:.1f} s" for one in (theirs[-1], ours[-1]))
        print(f"seed {seed}: {', '.join(pair)}", flush=True)

    manifest = arrays.read_manifest("data/arrays")
    print(f"\n{manifest.title}, {processor.describe()}; medians (and ranges) of {chosen.seeds} seeds, taking turns\n")
    names = (f"the {kind} loop", f"Darkroom, {chosen.recipe}", "Darkroom, the classic network, 1 epoch")
    rows = [
        (
            name,
            mean_std(runs),
            median_range([one["seconds"] for one in runs], 2),
            median_range([one["images_per_second"] for one in runs], 0),
        )
        for name, runs in zip(names, (theirs, ours, same), strict=True)
    ]
    print(markdown(("training", "test accuracy, % (mean ± standard deviation)", "training time, s", "images/s"), rows))
    faster = median_range(ratios(theirs, ours, "seconds"))
    print(f"\n{chosen.recipe} takes {faster} times less training time than the {kind} loop.")
    speed = median_range(ratios(same, theirs, "images_per_second"))
    print(f"The classic network processes {speed} times as many images/s as the {kind} loop.")


def mean_std(runs: list[dict[str, float]]) -> str:
    """Mean and sample standard deviation of the accuracies, in percent."""
    accuracies = [100 * one["accuracy"] for one in runs]
    return f"{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies) if len(accuracies) > 1 else 0:.2f}"


def ratios(first: list[dict[str, float]], second: list[dict[str, float]], key: str) -> list[float]:
    """The ratio of a measurement in each pair of runs."""
    return [one[key] / other[key] for one, other in zip(first, second, strict=True)]


if __name__ == "__main__":
    main()
