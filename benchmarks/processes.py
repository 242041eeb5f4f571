"""Compare one process with several that train the same network: images/s, and the memory that each process holds.

All take turns; the memory is that of parameters and optimiser state. Needs the output of `dvc repro preprocess`.
"""

from functools import partial

import torch

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, changed
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor
from darkroom.models import hardware
from darkroom.train import launch, processes
from darkroom.train.setup import build_trainer
from darkroom.train.sharding import is_sharded
from darkroom.train.trainer import Trainer


def main() -> None:
    options = parser("processes", __doc__)
    options.add_argument("--processes", type=int, default=2, help="number of processes to compare with one")
    options.add_argument("--models", nargs="+", default=["resnet"], help="networks")
    options.add_argument("--images", type=int, default=20_000, help="images per training")
    options.add_argument("--repeats", type=int, default=3, help="repetitions")
    options.add_argument("--sharded", action="store_true", help="also train with train.parallel = sharded")
    chosen = options.parse_args()
    manifest = arrays.read_manifest(ARRAYS)
    epochs = min(1, chosen.images / manifest.counts["train"])
    kinds = {"one process": (1, "data"), f"{chosen.processes} processes": (chosen.processes, "data")}
    if chosen.sharded:
        kinds[f"{chosen.processes} processes, sharded"] = (chosen.processes, "sharded")
    rows = []
    for name in chosen.models:
        changes = {"model.name": name, "train.epochs": epochs, "train.min_steps": 0, "train.batch_size": 512}
        measured: dict[str, list[dict]] = {kind: [] for kind in kinds}
        for _ in range(chosen.repeats):
            for kind, (number, parallel) in kinds.items():
                training = partial(train, {**changes, "train.processes": number, "train.parallel": parallel})
                measured[kind].append(launch.start(training, number))
        alone = measured["one process"]
        for kind, found in measured.items():
            speeds = [one["images_per_second"] for one in found]
            ratios = [
                one["images_per_second"] / other["images_per_second"] for one, other in zip(found, alone, strict=True)
            ]
            held = found[0]["bytes"] / alone[0]["bytes"]
            rows.append((f"`{name}`", kind, median_range(speeds, 0), median_range(ratios, 2), f"{held:.2f}"))
    print(f"{manifest.title}, {processor.describe()}; medians (and ranges) of {chosen.repeats} turns\n")
    print(markdown(("network", "training", "images/s", "relative to one process", "memory held by each"), rows))


def train(changes: dict[str, object]) -> dict[str, float]:
    """Train on data/arrays with params.yaml and `changes`, together with the other processes; return the costs."""
    chosen = changed(changes)
    with processes.join(hardware.choose_device(chosen.train.device)) as group:
        train, val = (arrays.read_split(ARRAYS, name) for name in ("train", "val"))
        manifest = arrays.read_manifest(ARRAYS)
        trainer = build_trainer(chosen.seed, chosen.model, chosen.train, manifest, train, val, group)
        list(trainer.epochs())
        return {**trainer.costs(), "bytes": held_bytes(trainer)}


def held_bytes(trainer: Trainer) -> int:
    """The bytes of parameters and optimiser state that this process holds."""
    states = [entries for member in trainer.optimisers.members for entries in member.state.values()]
    tensors = [*trainer.network.parameters(), *(value for entries in states for value in entries.values())]
    own = [tensor.to_local() if is_sharded(tensor) else tensor for tensor in tensors]
    return sum(tensor.nbytes for tensor in own if isinstance(tensor, torch.Tensor))


if __name__ == "__main__":
    main()
