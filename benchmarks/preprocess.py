"""Measure time and memory of fetch and preprocess for folders of generated JPEGs, all different, one folder per class.

Each stage runs in its own process. Its peak memory (resident set size) is what the kernel reports. Linux only.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from PIL import Image
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom import schema
from darkroom.core import params, processor
from darkroom.core.outputs import TEMPORARY

CLASSES = 10
COLUMNS = (
    "images",
    "seconds of fetch",
    "peak memory, MB",
    "seconds of preprocess",
    "peak memory, MB",
    "growth, bytes per image",
)
_NOISE_SIDE = 5  # pixels per side of the noise that is enlarged to an image

# A process takes over the peak memory of the one that starts it. So a small one runs the command and prints its `Cost`.
_MEASURE = """
import resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds, usage = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime)
sys.exit(code)
"""


def generate(folder: Path, start: int, count: int, side: int) -> None:
    """Write the images number `start` to `count` - 1, RGB of (side, side), as JPEGs to one folder per class."""
    for label in range(CLASSES):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(start, count), "generate", unit="image", leave=False, disable=None):
        noise = np.random.default_rng(number).integers(256, size=(_NOISE_SIDE, _NOISE_SIDE, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / f"class_{number % CLASSES}" / f"{number:07}.jpg", quality=90)


class Cost(NamedTuple):
    """What a process took."""

    seconds: float
    memory: float  # its peak, MB (10**6 bytes)
    cpu: float  # seconds, user and system


def stage(name: str, folder: Path) -> Cost:
    """The cost of a stage that runs in `folder`."""
    return command(f"stages.{name}", folder)


def command(module: str, folder: Path, *arguments: str) -> Cost:
    """The cost of a module that runs in `folder`."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _MEASURE, sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"benchmarks.preprocess: {module} ended with exit code {done.returncode}.")
    return Cost(*map(float, done.stdout.split()))


def main() -> None:
    options = parser("preprocess", __doc__)
    options.add_argument(
        "--counts", type=int, nargs="+", default=[10_000, 100_000], help="images; one row of the table for each"
    )
    options.add_argument("--side", type=int, default=32, help="pixels per side of an image")
    options.add_argument("--recipe", metavar="NAME", help="with the section preprocess of recipes/NAME.yaml")
    chosen = options.parse_args()
    values = params.read(params.PATH)
    values["data"]["dataset"] = "generated"
    if chosen.recipe:
        values["preprocess"].update(params.read(Path(f"recipes/{chosen.recipe}.yaml"))["preprocess"])
    schema.check(values)
    measured, existing = [], 0
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        folder = Path(name)
        (folder / params.PATH).write_text(yaml.safe_dump(values), encoding="utf-8")
        for count in sorted(set(chosen.counts)):
            generate(folder / "data/datasets/generated", existing, count, chosen.side)
            existing = count
            measured.append((count, *stage("fetch", folder)[:2], *stage("preprocess", folder)[:2]))

    with_recipe = f", recipe {chosen.recipe}" if chosen.recipe else ""
    print(f"JPEGs of {chosen.side} x {chosen.side} RGB{with_recipe}; {processor.describe()}\n")
    rows = []
    for (count, *figures), before in zip(measured, [None, *measured], strict=False):
        growth = f"{(figures[3] - before[4]) * 1e6 / (count - before[0]):.0f}" if before else ""
        seconds, memory, more_seconds, more_memory = figures
        rows.append(
            (f"{count:,}", f"{seconds:.1f}", f"{memory:.0f}", f"{more_seconds:.1f}", f"{more_memory:.0f}", growth)
        )
    print(markdown(COLUMNS, rows))


if __name__ == "__main__":
    main()
