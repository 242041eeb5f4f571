"""Measure time and memory of every stage for photos, by default with the recipe `finetune`.

The photos are those of a folder with one folder per class (--folder), or generated JPEGs, one row of the table for each
of --counts. Each stage runs in its own process, in an empty project. Linux only.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.preprocess import Cost, command, stage
from benchmarks.runs import merged, recipe
from benchmarks.tables import markdown
from darkroom import schema
from darkroom.core import params, processor
from darkroom.core.outputs import TEMPORARY

STAGES = ("fetch", "preprocess", "pretrained", "train", "evaluate", "robustness", "explain", "export")
_COARSE = 5  # pixels per side of the colours that are enlarged to a photo
_PHOTOS = Path("data/datasets/photos")


def generate(folder: Path, count: int, side: int, classes: int = 10) -> None:
    """Write `count` JPEGs of (side, side) RGB, whose colours depend on the class and on the photo in equal parts."""
    shape = (_COARSE, _COARSE, 3)
    of_class = [np.random.default_rng([0, label]).integers(128, size=shape) for label in range(classes)]
    for label in range(classes):
        (folder / f"class_{label}").mkdir(parents=True)
    for number in tqdm(range(count), "generate", unit="photo", leave=False, disable=None):
        colours = of_class[number % classes] + np.random.default_rng([1, number]).integers(128, size=shape)
        image = Image.fromarray(colours.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / f"class_{number % classes}" / f"{number:07}.jpg", quality=90)


def measure(photos: Path, changes: dict[str, object], stages: Iterable[str] = STAGES) -> Iterator[Cost]:
    """Yield the cost of each of the `stages` for a folder of `photos`, with `changes` of params.yaml.

    The stage `review` is the review of the run against itself with other predictions for a few test examples.
    """
    values = merged(changes)
    schema.check(values)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        folder = Path(name)
        (folder / params.PATH).write_text(yaml.safe_dump(values), encoding="utf-8")
        for needed in ("data/pretrained", "data/teachers", "data/baselines"):
            shutil.copytree(needed, folder / needed)
        (folder / _PHOTOS).parent.mkdir(parents=True)
        (folder / _PHOTOS).symlink_to(photos.resolve(), target_is_directory=True)
        for name in stages:
            yield review(folder) if name == "review" else stage(name, folder)


def review(folder: Path) -> Cost:
    """The cost of a review of the results in `folder`, of which every hundredth prediction changes."""
    shell = partial(subprocess.run, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for name, contents in (("dvc.yaml", "stages: {}"), ("dvc.lock", "{schema: '2.0', stages: {}}")):
        (folder / name).write_text(contents, encoding="utf-8")
    shell(["git", "init", "--quiet"])
    shell(["git", "add", "params.yaml", "metrics", "dvc.yaml", "dvc.lock"])
    author = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.com")
    shell(["git", *author, "commit", "--quiet", "--message", "results"])
    predictions, evaluated = (folder / "metrics" / name for name in ("predictions.csv", "evaluate.json"))
    table = pd.read_csv(predictions)
    table.loc[::100, "predicted"] = np.roll(table["label"], 1)[::100]
    table.to_csv(predictions, index=False)
    accuracy = float((table["label"] == table["predicted"]).mean())
    evaluated.write_text(json.dumps(json.loads(evaluated.read_text()) | {"accuracy": accuracy}), encoding="utf-8")
    return command("darkroom.review", folder, "HEAD")


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
        measured[str(chosen.folder)] = list(measure(chosen.folder, changes))
    else:
        for count in chosen.counts:
            with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
                generate(Path(name), count, chosen.side)
                measured[f"{count:,} photos"] = list(measure(Path(name), changes))

    print(f"recipe {chosen.recipe}; {processor.describe()}; seconds (CPU seconds; peak memory, MB)\n")
    rows = [
        [name, *(f"{cost.seconds:.1f} ({cost.cpu:.1f}; {cost.memory:.0f})" for cost in by_stage)]
        for name, by_stage in measured.items()
    ]
    print(markdown(["", *STAGES], rows))


if __name__ == "__main__":
    main()
