"""Does training keep its speed where the pictures do not fit in memory? Generated ones, in memory and, under a limit, from disk.

The limit is that of a control group, made below the one that this runs in: on Linux, as root or where that is delegated.
The trainings take turns, each in a process of its own, and each begins with nothing of the pictures in the kernel's cache.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.runs import ARRAYS, middle, run
from darkroom.core import arrays, params, processor
from darkroom.core.outputs import TEMPORARY
from darkroom.preprocess import packing
from darkroom.preprocess.samples import Samples
from darkroom.train import memory

CLASSES = 10
_APART = 1000  # pictures each of validation and test
_BLOCK = 2**24  # bytes generated at a time


def generate(folder: Path, count: int, side: int) -> None:
    """Writes packed arrays of `count` training pictures of noise, (side, side, 3), and a few for validation and test."""
    random, total = np.random.default_rng(0), count + 2 * _APART
    splits = np.repeat(["train", "val", "test"], [count, _APART, _APART])
    samples = Samples(np.arange(total).astype(str), np.arange(total) % CLASSES, splits, np.full(total, ""))
    block = max(1, _BLOCK // (side * side * 3))
    starts = tqdm(range(0, total, block), desc="generate", unit="block", leave=False, disable=None)
    with packing.Pack(folder, (side, side, 3)) as pack:
        for _ in pack.keep(
            random.integers(256, size=(min(block, total - start), side, side, 3), dtype=np.uint8) for start in starts
        ):
            pass
        about = {
            "dataset": "noise",
            "title": "Noise",
            "licence": "CC0",
            "classes": [f"class {label}" for label in range(CLASSES)],
        }
        packing.write(
            folder / ARRAYS, pack, samples, {**about, "augmentation": arrays.Augmentation(flip=True, shift=2)}
        )


@contextmanager
def limited(size: int) -> Iterator[Path]:
    """A control group whose processes may take `size` bytes of memory."""
    parent, limit = next(
        ((folder, files[0]) for folder, files in memory.groups() if (folder / "memory.stat").exists()), (None, "")
    )
    if parent is None:
        sys.exit("benchmarks.disk: no control group here limits memory: run it on Linux.")
    group = parent / f"darkroom-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(size))
    except OSError as error:
        sys.exit(f"benchmarks.disk: a control group with a limit cannot be made ({error}): run it as root.")
    try:
        yield group
    finally:
        group.rmdir()


def forget(folder: Path) -> None:
    """Drops the files of the folder from the kernel's cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.disk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=float, default=1.5, help="memory allowed, in GiB (default: 1.5)")
    parser.add_argument(
        "--times", type=float, default=4.0, help="size of the pictures as a multiple of it (default: 4)"
    )
    parser.add_argument("--side", type=int, default=32, help="pixels a side of a picture (default: 32)")
    parser.add_argument("--models", nargs="+", default=["sprint", "resnet"], help="networks (default: sprint resnet)")
    parser.add_argument(
        "--images", type=int, default=20_000, help="pictures trained on for each figure (default: 20000)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="times that each figure is taken (default: 3)")
    chosen = parser.parse_args()
    limit = int(chosen.limit * 2**30)
    size = int(chosen.times * limit)
    count = size // (chosen.side**2 * 3)
    if shutil.disk_usage(".").free < 2.1 * size:
        sys.exit(
            f"benchmarks.disk: it needs {2.1 * size / 2**30:.0f} GiB of disk here: free some space, or lower --limit or --times."
        )
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name, limited(limit) as group:
        folder = Path(name)
        generate(folder, count, chosen.side)
        shutil.copy(params.PATH, folder)
        places = {"in memory": {}, "from disk": {"group": group}}
        runs: dict[tuple[str, str], list[dict]] = {(model, place): [] for model in chosen.models for place in places}
        for _ in range(chosen.repeats):
            for model, place in runs:
                forget(folder / ARRAYS)
                changes = {"model.name": model, "train.epochs": chosen.images / count, "train.weights": "last"}
                runs[model, place].append(run("ours", folder=folder, **places[place], **changes))
    print(
        f"{count:,} pictures of {chosen.side} x {chosen.side} RGB, {size / 2**30:g} GiB; from disk with {chosen.limit:g} GiB of memory allowed;"
    )
    print(f"{chosen.images:,} trained on, {processor.describe()}; medians (and ranges) of {chosen.repeats} turns\n")
    print("| network | pictures | images/s | against those in memory |\n|---|---|---|---|")
    for (model, place), measured in runs.items():
        speeds, bases = ([one["images_per_second"] for one in some] for some in (measured, runs[model, "in memory"]))
        ratio = middle([speed / base for speed, base in zip(speeds, bases, strict=True)], 2)
        print(f"| `{model}` | {place} | {middle(speeds, 0)} | {ratio} |")


if __name__ == "__main__":
    main()
