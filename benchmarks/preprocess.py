"""What do fetch and preprocess cost for so many pictures? Generated JPEGs in a folder a class, each of them different.

Each stage runs in a process of its own, whose peak memory (resident set) is what the kernel says of it. On Linux.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from tqdm import tqdm

from darkroom import schema
from darkroom.core import params, processor
from darkroom.core.outputs import TEMPORARY

CLASSES = 10
_ROUGH = 5  # pixels a side of the noise that is enlarged to a picture


def generate(folder: Path, start: int, count: int, side: int) -> None:
    """Writes the pictures `start` to `count` - 1, colour of (side, side), as JPEG into folders by class."""
    for label in range(CLASSES):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(start, count), "generate", unit="picture", leave=False, disable=None):
        rough = np.random.default_rng(number).integers(256, size=(_ROUGH, _ROUGH, 3), dtype=np.uint8)
        smooth = Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)
        smooth.save(folder / f"class_{number % CLASSES}" / f"{number:07}.jpg", quality=90)


def stage(name: str, folder: Path) -> tuple[float, float]:
    """Runs a stage in `folder`; returns its seconds and its peak memory in units of 10**6 bytes."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(
        process.pid, 0
    )  # the kernel's figures of this process alone; subprocess does not give them
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"benchmarks.preprocess: {name} ended with code {process.returncode}.")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preprocess",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        default=[10_000, 100_000],
        help="pictures, a line of the table each (default: 10000 100000)",
    )
    parser.add_argument("--side", type=int, default=32, help="pixels a side of a picture (default: 32)")
    chosen = parser.parse_args()
    values = params.read(params.PATH)
    values["data"]["dataset"] = "generated"
    schema.check(values)
    rows, there = [], 0
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        folder = Path(name)
        (folder / params.PATH).write_text(yaml.safe_dump(values), encoding="utf-8")
        for count in sorted(set(chosen.counts)):
            generate(folder / "data/datasets/generated", there, count, chosen.side)
            there = count
            rows.append((count, *stage("fetch", folder), *stage("preprocess", folder)))

    print(f"JPEGs of {chosen.side} x {chosen.side} RGB; {processor.describe()}\n")
    print(
        "| pictures | seconds of fetch | peak, MB | seconds of preprocess | peak, MB | bytes more a picture |\n|---|---|---|---|---|---|"
    )
    for (count, seconds, peak, *more), before in zip(rows, [None, *rows], strict=False):
        growth = f"{(more[1] - before[4]) * 1e6 / (count - before[0]):.0f}" if before else ""
        print(f"| {count:,} | {seconds:.1f} | {peak:.0f} | {more[0]:.1f} | {more[1]:.0f} | {growth} |")


if __name__ == "__main__":
    main()
