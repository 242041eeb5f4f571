"""The usual loop and ours, side by side in one run: the time to the usual loop's accuracy, and the speed of the same network.

Needs what `dvc repro preprocess` leaves of a dataset of 28 x 28 grey pictures. Each training is a process of its own, and
the kinds take turns, so that whatever else the machine does hits all of them.
"""

import argparse
import statistics

from benchmarks.runs import middle, recipe, run
from darkroom.core import arrays, processor


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each kind (default: 5)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the usual loop (default: 10)")
    parser.add_argument(
        "--workers", type=int, default=0, help="DataLoader processes of the usual loop (default: 0, PyTorch's)"
    )
    parser.add_argument("--recipe", default="sprint", help="our recipe, a file in recipes/ (default: sprint)")
    parser.add_argument(
        "--example",
        action="store_true",
        help="against PyTorch's published MNIST example (14 epochs) instead of the usual loop",
    )
    chosen = parser.parse_args()
    kind = "example" if chosen.example else "usual"
    theirs, ours, same = [], [], []
    for seed in range(chosen.seeds):
        epochs = {"epochs": chosen.epochs} if kind == "usual" else {}
        theirs.append(run(kind, seed=seed, workers=chosen.workers, **epochs))
        ours.append(run("ours", **recipe(chosen.recipe), seed=seed))
        same.append(run("ours", **{"model.name": "cnn", "model.cnn.dropout": 0.0, "train.epochs": 1, "seed": seed}))
        print(
            f"seed {seed}: "
            + ", ".join(f"{run['accuracy']:.2%} in {run['seconds']:.1f} s" for run in (theirs[-1], ours[-1])),
            flush=True,
        )

    manifest = arrays.read_manifest("data/arrays")
    print(f"\n{manifest.title}, {processor.describe()}; medians (and ranges) of {chosen.seeds} seeds, taking turns\n")
    print("| training | test accuracy, % (mean ± deviation) | training time, s | images/s |")
    print("|---|---|---|---|")
    for name, runs in (
        (f"the {kind} loop", theirs),
        (f"Darkroom, {chosen.recipe}", ours),
        ("Darkroom, the classic network, 1 epoch", same),
    ):
        print(
            f"| {name} | {spread(runs)} | {middle([one['seconds'] for one in runs], 2)} | {middle([one['images_per_second'] for one in runs], 0)} |"
        )
    print(
        f"\n{chosen.recipe} takes {middle(ratios(theirs, ours, 'seconds'))} times less training time than the {kind} loop."
    )
    print(f"The classic network runs at {middle(ratios(same, theirs, 'images_per_second'))} times its images/s.")


def spread(runs: list[dict[str, float]]) -> str:
    """Mean and standard deviation of the runs' accuracies, in percent."""
    accuracies = [100 * run["accuracy"] for run in runs]
    return f"{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies) if len(accuracies) > 1 else 0:.2f}"


def ratios(first: list[dict[str, float]], second: list[dict[str, float]], key: str) -> list[float]:
    """The ratio of a figure in each pair of runs."""
    return [one[key] / other[key] for one, other in zip(first, second, strict=True)]


if __name__ == "__main__":
    main()
