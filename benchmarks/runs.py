"""Trainings for the benchmarks to time, each in its own process so that none warms up or slows down another.

`python -m benchmarks.runs NAME key=value ...` runs one and prints its measurements as JSON: `ours` with changes of
params.yaml such as train.lr=0.01, `usual` and `example` with epochs, seed and workers, `loading` with method. `folder`
sets the folder to run in, `group` the control group to join.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.command import parser
from darkroom import schema
from darkroom.core import params

ARRAYS, RAW = Path("data/arrays"), Path("data/raw")


def run(name: str, **changes: Any) -> dict[str, float]:
    """Run one training in its own process; return its measurements, with `seconds` of training and test `accuracy`."""
    command = [sys.executable, "-m", "benchmarks.runs", name, *(f"{key}={value}" for key, value in changes.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr or "it was killed; the machine may lack memory"
        raise SystemExit(f"{' '.join(command[1:])} ended with exit code {done.returncode}:\n{reason}")
    return json.loads(done.stdout.splitlines()[-1])


def recipe(name: str) -> dict[str, object]:
    """The parameters that a recipe sets, by dotted key."""
    return params.flat(params.read(Path(f"recipes/{name}.yaml")))


def changed(changes: Mapping[str, object]) -> schema.Params:
    """The checked parameters of params.yaml with `changes`, by dotted key."""
    return schema.check(merged(changes))


def merged(changes: Mapping[str, object]) -> dict[str, Any]:
    """The values of params.yaml with `changes`, by dotted key."""
    values = params.read(params.PATH)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    return values


def ours(changes: Mapping[str, str]) -> dict[str, float]:
    """Train on data/arrays with params.yaml and `changes`, as the stage train does, but as shortly as they ask for."""
    from darkroom.core import arrays
    from darkroom.core.stage import peak_memory_mb
    from darkroom.models.inference import predict
    from darkroom.train.setup import build_trainer

    given = {key: yaml.load(value, params.Loader) for key, value in changes.items()}  # a SafeLoader
    chosen = changed({"train.min_steps": 0, **given})
    manifest = arrays.read_manifest(ARRAYS)
    train, val, test = (arrays.read_split(ARRAYS, name) for name in arrays.SPLITS)
    trainer = build_trainer(chosen.seed, chosen.model, chosen.train, manifest, train, val)
    list(trainer.epochs())
    correct = predict(trainer.whole, test.inputs, trainer.data.mean, trainer.data.std).argmax(1) == test.labels
    costs = trainer.costs()
    return {
        "seconds": costs.pop("training_seconds"),
        "accuracy": float(correct.mean()),
        **costs,
        **trainer.summary(),
        "peak_memory_mb": peak_memory_mb(),
    }


def usual(changes: Mapping[str, str]) -> dict[str, float]:
    """The loop of most tutorials: transforms of single images, a DataLoader, batches of 64, Adam at 1e-3."""
    import torch
    from torch import nn

    torch.manual_seed(int(changes.get("seed", 0)))
    first = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2))
    network = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    return _loop(network, optimizer, None, 64, int(changes.get("epochs", 10)), int(changes.get("workers", 0)))


def example(changes: Mapping[str, str]) -> dict[str, float]:
    """PyTorch's published MNIST example with its defaults.

    Adadelta at 1.0, multiplied by 0.7 after each epoch; dropout; batches of 64; 14 epochs.
    """
    import torch
    from torch import nn

    torch.manual_seed(int(changes.get("seed", 1)))
    first, second = (nn.Conv2d(1, 32, 3), nn.ReLU()), (nn.Conv2d(32, 64, 3), nn.ReLU())
    features = (*first, *second, nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten())
    network = nn.Sequential(*features, nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
    return _loop(network, optimizer, schedule, 64, int(changes.get("epochs", 14)), int(changes.get("workers", 0)))


def loading(changes: Mapping[str, str]) -> dict[str, float]:
    """One epoch of batches without a network; `method` is in_memory, prefetched or dataloader."""
    import torch

    from darkroom.core import arrays
    from darkroom.train import batches, loading
    from darkroom.train.config import TrainConfig

    method = changes["method"]
    if method == "dataloader":
        with _loaders(256, 0) as (loader, _):
            return _timed(loader, len(loader.dataset))
    seed, settings = params.load(seed=params.Seed, train=TrainConfig)
    loading.MAX_MEMORY_FRACTION = {"in_memory": 1.0, "prefetched": 0.0}[method]
    manifest, train = arrays.read_manifest(ARRAYS), arrays.read_split(ARRAYS, "train")
    source = batches.Batches(train, manifest, settings.augment, 256, seed, torch.device("cpu"))
    return _timed(source.epoch(0, 0, source.steps), len(train))


def _timed(epoch: Iterable, images: int) -> dict[str, float]:
    started = time.perf_counter()
    for _ in epoch:
        pass
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "images_per_second": images / seconds}


def _loop(network, optimizer, schedule, batch_size: int, epochs: int, workers: int) -> dict[str, float]:
    """Train on the raw files in data/raw with a plain loop; `seconds` are those of the training alone."""
    import torch
    from torch.nn.functional import cross_entropy

    with _loaders(batch_size, workers) as (train, test):
        started = time.perf_counter()
        for _ in range(epochs):
            network.train()
            for images, labels in train:
                optimizer.zero_grad()
                cross_entropy(network(images), labels).backward()
                optimizer.step()
            if schedule:
                schedule.step()
        seconds = time.perf_counter() - started
        network.eval()
        with torch.inference_mode():
            correct = sum((network(images).argmax(1) == labels).sum().item() for images, labels in test)
    return {
        "seconds": seconds,
        "accuracy": correct / len(test.dataset),
        "images_per_second": epochs * len(train.dataset) / seconds,
    }


@contextmanager
def _loaders(batch_size: int, workers: int) -> Iterator[tuple]:
    """DataLoaders of the training and test set in data/raw, with torchvision's dataset and transforms."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    if not list(RAW.glob("train-images*")):
        sys.exit(f"{RAW} holds no images in the format of Fashion-MNIST: run `dvc repro --force fetch`.")
    with tempfile.TemporaryDirectory() as root:  # torchvision expects the raw files in a folder of this name
        Path(root, "FashionMNIST").mkdir()
        Path(root, "FashionMNIST", "raw").symlink_to(RAW.resolve())
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
        train, test = (datasets.FashionMNIST(root, train=part, transform=transform) for part in (True, False))
        yield DataLoader(train, batch_size, shuffle=True, num_workers=workers), DataLoader(test, 500)


def main() -> None:
    kinds = {"ours": ours, "usual": usual, "example": example, "loading": loading}
    options = parser("runs", __doc__)
    options.add_argument("name", metavar="NAME", choices=kinds, help=f"the training: {', '.join(kinds)}")
    options.add_argument("changes", nargs="*", metavar="key=value", help="its settings")
    chosen = options.parse_args()
    changes = dict(change.split("=", 1) for change in chosen.changes)
    if group := changes.pop("group", None):
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
    os.chdir(changes.pop("folder", "."))
    print(json.dumps(kinds[chosen.name](changes)))


if __name__ == "__main__":
    main()
