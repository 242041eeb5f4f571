"""Compare trainings on a CUDA GPU with and without CUDA graphs: images/s after the first epoch, and the GPU's memory.

Both take turns in one process, each with a new network of the same seed, and must end with the same loss. Needs an
NVIDIA GPU and the output of `dvc repro preprocess`.
"""

import gc
import statistics
from typing import NamedTuple

import torch

from benchmarks.command import parser
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, params
from darkroom.core.params import Seed
from darkroom.models.config import ModelConfig
from darkroom.train.config import TrainConfig
from darkroom.train.optimisers import Muon
from darkroom.train.setup import build_trainer


class Speed(NamedTuple):
    """One training."""

    images_per_second: float
    memory_mb: float
    loss: float  # of validation, at the end


def main() -> None:
    options = parser("cuda_graphs", __doc__)
    options.add_argument("--models", nargs="+", default=["sprint", "resnet", "wide_resnet"], help="networks")
    options.add_argument("--epochs", type=int, default=4, help="epochs of each training, at least 2")
    options.add_argument("--repeats", type=int, default=3, help="turns")
    chosen = options.parse_args()
    if not torch.cuda.is_available():
        options.error("needs a CUDA GPU, which this machine does not have")
    if chosen.epochs < 2:
        options.error("--epochs must be at least 2: the first epoch is not measured")
    rows = []
    for name in chosen.models:
        turns = [[measure(name, graphs, chosen.epochs) for graphs in (False, True)] for _ in range(chosen.repeats)]
        if len({speed.loss for turn in turns for speed in turn}) > 1:
            raise SystemExit(f"{name}: trainings with and without CUDA graphs end with different losses.")
        rates = ([turn[index].images_per_second for turn in turns] for index in range(2))
        ratio = median_range([after.images_per_second / before.images_per_second for before, after in turns], 1)
        memory = [f"{max(turn[index].memory_mb for turn in turns):,.0f}" for index in range(2)]
        rows.append((f"`{name}`", *(median_range(rate, 0) for rate in rates), ratio, *memory))
    print(f"{torch.cuda.get_device_name()}; medians (and ranges) of {chosen.repeats} turns\n")
    columns = ("network", "images/s without", "images/s with graphs", "ratio", "memory without, MB", "with, MB")
    print(markdown(columns, rows))


def measure(name: str, with_graphs: bool, epochs: int) -> Speed:
    """Train the network `name` by params.yaml for some epochs."""
    seed, model, settings = params.load(seed=Seed, model=ModelConfig, train=TrainConfig)
    settings = settings.model_copy(update={"epochs": float(epochs)})
    train, val = (arrays.read_split("data/arrays", split) for split in ("train", "val"))
    manifest = arrays.read_manifest("data/arrays")
    gc.collect()  # what the training before has left
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trainer = build_trainer(seed, model.model_copy(update={"name": name}), settings, manifest, train, val)
    if not with_graphs:
        trainer.captured = None
        for member in trainer.optimisers.members:
            if isinstance(member, Muon):
                member.captured.is_capturable = False
    records = list(trainer.epochs())
    seconds = statistics.median(record.seconds for record in records[1:])
    return Speed(len(train) / seconds, torch.cuda.max_memory_reserved() / 2**20, records[-1].val_loss)


if __name__ == "__main__":
    main()
