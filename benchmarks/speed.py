"""Images/s and memory of training, by network, precision and batch size, and of the data's way to the network alone.

Each figure is a process of its own, and all take turns; needs what `dvc repro preprocess` leaves.
"""

import argparse
import itertools

from benchmarks.runs import middle, run
from darkroom.core import arrays, processor


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=["sprint", "cnn", "resnet", "lstm", "vit"],
        help="networks (default: sprint cnn resnet lstm vit)",
    )
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="precisions (default: fp32 bf16)")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256], help="batch sizes (default: 64 256)")
    parser.add_argument(
        "--images", type=int, default=10_000, help="pictures trained on for each figure (default: 10000)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="times that each figure is taken (default: 3)")
    chosen = parser.parse_args()
    manifest = arrays.read_manifest("data/arrays")
    epochs = min(1, chosen.images / manifest.counts["train"])
    kinds = list(itertools.product(chosen.models, chosen.precisions, chosen.batches))
    runs: dict[tuple, list[dict]] = {kind: [] for kind in kinds}
    loading: dict[str, list[dict]] = {"held": [], "prefetched": [], "dataloader": []}
    for _ in range(chosen.repeats):
        for name, precision, batch in kinds:
            changes = {
                "model.name": name,
                "train.precision": precision,
                "train.batch_size": batch,
                "train.epochs": epochs,
                "train.weights": "last",
            }
            runs[name, precision, batch].append(run("ours", **changes))
        for way, measured in loading.items():
            measured.append(run("loading", way=way))

    print(f"{manifest.title}, {processor.describe()}; medians (and ranges) of {chosen.repeats} turns\n")
    print(
        "| network | precision | batch | images/s | against the first line of its kind | memory, MB |\n|---|---|---|---|---|---|"
    )
    for name, precision, batch in kinds:
        speeds = [one["images_per_second"] for one in runs[name, precision, batch]]
        first = [one["images_per_second"] for one in runs[name, chosen.precisions[0], chosen.batches[0]]]
        ratio = middle([speed / base for speed, base in zip(speeds, first, strict=True)], 2)
        memory = middle([one["peak_memory_mb"] for one in runs[name, precision, batch]], 0)
        print(f"| `{name}` | {precision} | {batch} | {middle(speeds, 0)} | {ratio} | {memory} |")
    print("\n| the data alone, one epoch in batches of 256 | images/s | against the DataLoader |\n|---|---|---|")
    for way, measured in loading.items():
        speeds = [one["images_per_second"] for one in measured]
        ratio = middle(
            [speed / base["images_per_second"] for speed, base in zip(speeds, loading["dataloader"], strict=True)]
        )
        print(f"| {way} | {middle(speeds, 0)} | {ratio} |")


if __name__ == "__main__":
    main()
