"""Compare the speed of training from memory with that from disk, under a memory limit, on generated images.

The limit is that of a control group below the one of this process: on Linux, as root or where this is delegated. The
trainings take turns, each in its own process. Each starts without the images in the kernel's page cache.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, run
from benchmarks.tables import markdown, median_range
from darkroom.core import params, processor
from darkroom.core.arrays import Augmentation
from darkroom.core.outputs import TEMPORARY
from darkroom.inputs.config import ImageConfig
from darkroom.preprocess import packing
from darkroom.preprocess.samples import Samples
from darkroom.train import memory

CLASSES = 10
_HELD_OUT = 1000  # images of each of validation and test
_BLOCK = 2**24  # bytes generated at a time


def generate(folder: Path, count: int, side: int) -> None:
    """Write packed arrays of `count` training images of noise, (side, side, 3), and some for validation and test."""
    random, total = np.random.default_rng(0), count + 2 * _HELD_OUT
    splits = np.repeat(["train", "val", "test"], [count, _HELD_OUT, _HELD_OUT])
    samples = Samples(np.arange(total).astype(str), np.arange(total) % CLASSES, splits, np.full(total, ""))
    dataset = SimpleNamespace(name="noise", title="Noise", licence="CC0-1.0", augmentation=Augmentation(True, 2))
    block = max(1, _BLOCK // (side * side * 3))
    starts = tqdm(range(0, total, block), desc="generate", unit="block", leave=False, disable=None)
    with packing.Pack(folder, (side, side, 3)) as pack:
        for _ in pack.keep(
            random.integers(256, size=(min(block, total - start), side, side, 3), dtype=np.uint8) for start in starts
        ):
            pass
        classes = [f"class {label}" for label in range(CLASSES)]
        images = params.load(preprocess=ImageConfig)
        packing.write(folder / ARRAYS, pack, samples, dataset, classes, pack.shape, images)


@contextmanager
def limited(size: int) -> Iterator[Path]:
    """A control group whose processes may use `size` bytes of memory."""
    parent, limit = next(
        ((folder, files[0]) for folder, files in memory.groups() if (folder / "memory.stat").exists()), (None, "")
    )
    if parent is None:
        sys.exit("benchmarks.disk: no control group limits memory here: run it on Linux.")
    group = parent / f"darkroom-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(size))
    except OSError as error:
        sys.exit(f"benchmarks.disk: cannot create a control group with a limit ({error}): run it as root.")
    try:
        yield group
    finally:
        group.rmdir()


def drop_cache(folder: Path) -> None:
    """Remove the files of `folder` from the kernel's page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    options = parser("disk", __doc__)
    options.add_argument("--limit", type=float, default=1.5, help="memory limit in GiB")
    options.add_argument("--times", type=float, default=4.0, help="size of the images as a multiple of the limit")
    options.add_argument("--side", type=int, default=32, help="pixels per side of an image")
    options.add_argument("--models", nargs="+", default=["sprint", "resnet"], help="networks")
    options.add_argument("--images", type=int, default=20_000, help="images per training")
    options.add_argument("--repeats", type=int, default=3, help="trainings per figure")
    chosen = options.parse_args()
    limit = int(chosen.limit * 2**30)
    size = int(chosen.times * limit)
    count = size // (chosen.side**2 * 3)
    if shutil.disk_usage(".").free < 2.1 * size:
        needed = f"needs {2.1 * size / 2**30:.0f} GiB of disk in this folder"
        sys.exit(f"benchmarks.disk: {needed}: free disk space, or lower --limit or --times.")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name, limited(limit) as group:
        folder = Path(name)
        generate(folder, count, chosen.side)
        shutil.copy(params.PATH, folder)
        sources = {"memory": {}, "disk": {"group": group}}
        runs: dict[tuple[str, str], list[dict]] = {(model, source): [] for model in chosen.models for source in sources}
        for _ in range(chosen.repeats):
            for model, source in runs:
                drop_cache(folder / ARRAYS)
                changes = {"model.name": model, "train.epochs": chosen.images / count, "train.keep_weights": "last"}
                runs[model, source].append(run("ours", folder=folder, **sources[source], **changes))
    print(
        f"{count:,} images of {chosen.side} x {chosen.side} RGB, {size / 2**30:g} GiB; disk: with a memory limit of "
        f"{chosen.limit:g} GiB;\n{chosen.images:,} images per training, {processor.describe()}; "
        f"medians (and ranges) of {chosen.repeats} turns\n"
    )
    rows = []
    for (model, source), measured in runs.items():
        speeds, bases = ([one["images_per_second"] for one in some] for some in (measured, runs[model, "memory"]))
        ratios = [speed / base for speed, base in zip(speeds, bases, strict=True)]
        rows.append([f"`{model}`", source, median_range(speeds, 0), median_range(ratios, 2)])
    print(markdown(["network", "source", "images/s", "relative to memory"], rows))


if __name__ == "__main__":
    main()
