"""Measure images/s and memory of training by network, precision and batch size, and the speed of data loading alone.

Each measurement runs in its own process, and all take turns. Needs the output of `dvc repro preprocess`.
"""

import itertools

from benchmarks.command import parser
from benchmarks.runs import run
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor


def main() -> None:
    options = parser("speed", __doc__)
    options.add_argument("--models", nargs="+", default=["sprint", "cnn", "resnet", "lstm", "vit"], help="networks")
    options.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="precisions")
    options.add_argument("--batches", type=int, nargs="+", default=[64, 256], help="batch sizes")
    options.add_argument("--images", type=int, default=10_000, help="images per training")
    options.add_argument("--repeats", type=int, default=3, help="repetitions")
    chosen = options.parse_args()
    manifest = arrays.read_manifest("data/arrays")
    epochs = min(1, chosen.images / manifest.counts["train"])
    kinds = list(itertools.product(chosen.models, chosen.precisions, chosen.batches))
    runs: dict[tuple, list[dict]] = {kind: [] for kind in kinds}
    loading: dict[str, list[dict]] = {"in_memory": [], "prefetched": [], "dataloader": []}
    for _ in range(chosen.repeats):
        for name, precision, batch_size in kinds:
            changes = {
                "model.name": name,
                "train.precision": precision,
                "train.batch_size": batch_size,
                "train.epochs": epochs,
                "train.keep_weights": "last",
            }
            runs[name, precision, batch_size].append(run("ours", **changes))
        for method, measured in loading.items():
            measured.append(run("loading", method=method))

    print(f"{manifest.title}, {processor.describe()}; medians (and ranges) of {chosen.repeats} turns\n")
    rows = []
    for name, precision, batch_size in kinds:
        speeds = _speeds(runs[name, precision, batch_size])
        memory = median_range([one["peak_memory_mb"] for one in runs[name, precision, batch_size]], 0)
        ratio = _ratio(speeds, _speeds(runs[name, chosen.precisions[0], chosen.batches[0]]), 2)
        rows.append((f"`{name}`", precision, batch_size, median_range(speeds, 0), ratio, memory))
    columns = (
        "network",
        "precision",
        "batch size",
        "images/s",
        "relative to the first row of the network",
        "memory, MB",
    )
    print(markdown(columns, rows))
    rows = []
    for method, measured in loading.items():
        speeds = _speeds(measured)
        rows.append((method, median_range(speeds, 0), _ratio(speeds, _speeds(loading["dataloader"]), 1)))
    print("\n" + markdown(("data loading, one epoch, batches of 256", "images/s", "relative to the DataLoader"), rows))


def _speeds(measured: list[dict]) -> list[float]:
    return [one["images_per_second"] for one in measured]


def _ratio(speeds: list[float], bases: list[float], digits: int) -> str:
    return median_range([speed / base for speed, base in zip(speeds, bases, strict=True)], digits)


if __name__ == "__main__":
    main()
