"""Measure how time and memory of every stage grow with the images, the classes and the pixels.

The images are generated, grey, in IDX files (`python -m benchmarks.preprocess` measures folders of files). `train`
takes a few steps: its time then is the fixed cost. Each cost is appended to a file of results; the table and the plot
show all that are in it. Linux only.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from benchmarks.command import parser
from benchmarks.preprocess import Cost
from benchmarks.stages import measure
from benchmarks.tables import markdown
from darkroom.core import processor
from darkroom.core.outputs import TEMPORARY

STAGES = ("fetch", "preprocess", "train", "evaluate", "robustness", "explain", "export", "review")
CASES = [
    *("10000,10,32", "100000,10,32", "1000000,10,32"),
    *("100000,2,32", "100000,1000,32", "100000,4000,32", "125000,4000,32,0.8"),
    *("10000,10,28", "10000,10,64", "10000,10,224"),
]
TEST = 0.2  # fraction of the images in the test set
CHANGES = {  # what does not grow is small
    "data.dataset": "photos",
    "model.name": "sprint",
    "train.epochs": 1e-6,
    "train.min_steps": 20,
    "train.batch_size": 512,
    "robustness.samples": 1000,
    "explain.faithfulness_samples": 50,
}
Case = tuple[int, int, int, float]  # images, classes, pixels per side, fraction in the test set
_COARSE, _BLOCK = 8, 4096  # squares per side of a generated image; images generated at a time


def generate(folder: Path, case: Case) -> None:
    """Write IDX files of coarse grey images, which depend on the class and on the image in equal parts.

    Every class has as many examples as any other, to within one, in the training and in the test set.
    """
    count, classes, side, fraction = case
    random, fine = np.random.default_rng(0), np.arange(side) * _COARSE // side
    of_class = random.integers(128, size=(classes, _COARSE, _COARSE), dtype=np.uint8)
    files, test = [], round(fraction * count)
    folder.mkdir()
    for split, size in (("train", count - test), ("test", test)):
        labels = (np.arange(size) % classes).astype(">i4")
        for kind, header in (("images", (0x803, size, side, side)), ("labels", (0xC01, size))):
            path = folder / f"{split}-{kind}"
            with path.open("wb") as file:
                file.write(np.array(header, ">u4").tobytes())
                for start in range(0, size, _BLOCK):
                    own = labels[start : start + _BLOCK]
                    if kind == "labels":
                        file.write(own.tobytes())
                    else:
                        noise = random.integers(128, size=(len(own), _COARSE, _COARSE), dtype=np.uint8)
                        file.write((of_class[own] + noise)[:, fine[:, None], fine].tobytes())
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size_of = path.stat().st_size
            files.append({"role": f"{split}_{kind}", "name": path.name, "bytes": size_of, "sha256": digest})
    described = {"title": "generated", "licence": "none", "homepage": "none", "format": "idx", "files": files}
    names = [f"class {label}" for label in range(classes)]
    described |= {"classes": names, "augmentation": {"flip": False, "shift": 0}}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")


def run(case: Case, results: Path) -> None:
    """Append the cost of each of STAGES to the file of results, as soon as it is known."""
    changes = CHANGES | {"preprocess.image_size": case[2]}
    stages = ("fetch", "preprocess", "pretrained", *STAGES[2:])
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        generate(Path(name, "photos"), case)
        for stage, cost in zip(stages, measure(Path(name, "photos"), changes, stages), strict=True):
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps([case, stage, cost]) + "\n")


def plot(path: Path, found: dict[Case, dict[str, Cost]]) -> None:
    """Draw CPU seconds and peak memory of each stage by images, by classes and by pixels."""
    from matplotlib.figure import Figure

    axes_of = {
        "images (10 classes, 32 x 32)": [case for case in found if case[1:] == (10, 32, TEST)],
        "classes (100,000 images of 32 x 32)": [case for case in found if (case[0], *case[2:]) == (100_000, 32, TEST)],
        "pixels per side (10,000 images, 10 classes)": [case for case in found if case[:2] == (10_000, 10)],
    }
    figure = Figure(figsize=(10.5, 6), dpi=80, layout="constrained")
    grid = figure.subplots(2, 3, sharey="row")
    for column, (name, cases) in enumerate(axes_of.items()):
        for row, (label, value) in enumerate((("CPU seconds", "cpu"), ("peak memory, MB", "memory"))):
            axes = grid[row][column]
            cases = sorted(cases, key=lambda case, column=column: case[column])
            for stage in STAGES:
                points = [(case[column], getattr(found[case][stage], value)) for case in cases if stage in found[case]]
                axes.plot(*zip(*points, strict=True), marker="o", ms=3, lw=1.2, label=stage)
            axes.set(
                xscale="log",
                yscale="linear" if row else "log",
                xlabel=name if row else None,
                ylabel=None if column else label,
            )
            axes.set_xticks([case[column] for case in cases], [f"{case[column]:,}" for case in cases])
            axes.minorticks_off()
            axes.grid(color="#dddddd", lw=0.6)
    handles = grid[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(STAGES), frameon=False)
    contents = io.BytesIO()
    figure.savefig(contents)
    Image.open(contents).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the bytes


def parse(text: str) -> Case:
    """The case of a text: images, classes, pixels per side, and the fraction in the test set if it is not TEST."""
    count, classes, side, *test = text.split(",")
    return int(count), int(classes), int(side), float(*test or [TEST])


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("growth", __doc__)
    options.add_argument(
        "--cases", nargs="*", metavar="IMAGES,CLASSES,SIDE[,TEST]", default=CASES, help="what to generate"
    )
    options.add_argument(
        "--results", type=Path, default=Path("growth.jsonl"), help="file with one line per case and stage"
    )
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw the results to a PNG file")
    chosen = options.parse_args(arguments)
    for case in map(parse, chosen.cases):
        run(case, chosen.results)
    found: dict[Case, dict[str, Cost]] = {}
    for case, stage, cost in map(json.loads, chosen.results.read_text(encoding="utf-8").splitlines()):
        found.setdefault(tuple(case), {})[stage] = Cost(*cost)

    print(f"{processor.describe()}; CPU seconds (wall seconds; peak memory, MB)\n")
    rows = []
    for (count, classes, side, test), costs in found.items():
        known = [costs.get(stage) for stage in STAGES]
        shown = [f"{one.cpu:.1f} ({one.seconds:.1f}; {one.memory:.0f})" if one else "" for one in known]
        rows.append([f"{count:,}", f"{classes:,}", side, f"{round(count * test):,}", *shown])
    print(markdown(["images", "classes", "pixels", "test images", *STAGES], rows))
    if chosen.plot:
        plot(chosen.plot, found)


if __name__ == "__main__":
    main()
