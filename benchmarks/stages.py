"""Measure time and memory of every stage for photos, by default with the recipe `finetune`.

The photos are those of a folder with one folder per class (--folder), or generated JPEGs, one row of the table for each
of --counts. Each stage runs in its own process, in an empty project. Linux only.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.preprocess import stage
from benchmarks.runs import merged, recipe
from benchmarks.tables import markdown
from darkroom import schema
from darkroom.core import params, processor
from darkroom.core.outputs import TEMPORARY

STAGES = ("fetch", "preprocess", "pretrained", "train", "evaluate", "robustness", "explain", "export")
CLASSES = 10
_COARSE = 5  # pixels per side of the colours that are enlarged to a photo
_PHOTOS = Path("data/datasets/photos")


def generate(folder: Path, count: int, side: int) -> None:
    """Write `count` JPEGs of (side, side) RGB, whose colours depend on the class and on the photo in equal parts."""
    for number in tqdm(range(count), "generate", unit="photo", leave=False, disable=None):
        label = number % CLASSES
        shape = (_COARSE, _COARSE, 3)
        colours = sum(np.random.default_rng(key).integers(128, size=shape) for key in ([0, label], [1, number]))
        image = Image.fromarray(colours.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        path = folder / f"class_{label}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def measure(photos: Path, changes: dict[str, object]) -> list[tuple[float, float]]:
    """Seconds and peak memory in MB of each of STAGES for a folder of `photos`, with `changes` of params.yaml."""
    values = merged(changes)
    schema.check(values)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        folder = Path(name)
        (folder / params.PATH).write_text(yaml.safe_dump(values), encoding="utf-8")
        for needed in ("data/pretrained", "data/teachers", "data/baselines"):
            shutil.copytree(needed, folder / needed)
        (folder / _PHOTOS).parent.mkdir(parents=True)
        (folder / _PHOTOS).symlink_to(photos.resolve(), target_is_directory=True)
        return [stage(name, folder) for name in STAGES]


def main() -> None:
    options = parser("stages", __doc__)
    options.add_argument("--folder", type=Path, help="photos to measure, instead of generated ones")
    options.add_argument("--counts", type=int, nargs="+", default=[400, 10_000], help="generated photos")
    options.add_argument("--side", type=int, default=256, help="pixels per side of a generated photo")
    options.add_argument("--recipe", default="finetune", help="a recipe of recipes/")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further parameters")
    chosen = options.parse_args()
    given = (text.split("=", 1) for text in chosen.set)
    changes = recipe(chosen.recipe) | {key: yaml.load(value, params.Loader) for key, value in given}  # a SafeLoader
    changes["data.dataset"] = _PHOTOS.name
    measured = {}
    if chosen.folder:
        measured[str(chosen.folder)] = measure(chosen.folder, changes)
    else:
        for count in chosen.counts:
            with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
                generate(Path(name), count, chosen.side)
                measured[f"{count:,} photos"] = measure(Path(name), changes)

    print(f"recipe {chosen.recipe}; {processor.describe()}; seconds (peak memory, MB)\n")
    rows = [
        [name, *(f"{seconds:.1f} ({memory:.0f})" for seconds, memory in by_stage)]
        for name, by_stage in measured.items()
    ]
    print(markdown(["", *STAGES], rows))


if __name__ == "__main__":
    main()
