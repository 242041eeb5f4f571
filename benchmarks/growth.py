"""Measure how time and memory of every stage grow with the images, the classes and the pixels; all are generated.

`train` takes a few steps: its time then is the fixed cost. Each case is appended to a file of results; the table and
the plot show all that are in it. Linux only.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import parser
from benchmarks.preprocess import Cost
from benchmarks.stages import generate, measure
from benchmarks.tables import markdown
from darkroom.core import processor
from darkroom.core.outputs import TEMPORARY

STAGES = ("fetch", "preprocess", "train", "evaluate", "robustness", "explain", "export", "review")
CASES = [
    *("10000,10,32", "100000,10,32", "1000000,10,32"),
    *("100000,2,32", "100000,1000,32", "100000,4000,32", "500000,4000,32"),
    *("10000,10,28", "10000,10,64", "10000,10,224"),
]
TRAINING = {"train.epochs": 1e-6, "train.min_steps": 20, "train.batch_size": 512}
Case = tuple[int, int, int]  # images, classes, pixels per side


def run(case: Case) -> list[Cost]:
    """The cost of each of STAGES with generated images."""
    count, classes, side = case
    changes = TRAINING | {"preprocess.image_size": side, "data.dataset": "photos"}
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        generate(Path(name, "photos"), count, side, classes)
        stages = ("fetch", "preprocess", "pretrained", *STAGES[2:])
        costs = dict(zip(stages, measure(Path(name, "photos"), changes, stages), strict=True))
    return [costs[stage] for stage in STAGES]


def plot(path: Path, found: dict[Case, list[Cost]]) -> None:
    """Draw CPU seconds and peak memory of each stage by images, by classes and by pixels."""
    from matplotlib.figure import Figure

    axes_of = {
        "images (10 classes, 32 x 32)": [case for case in found if case[1:] == (10, 32)],
        "classes (100,000 images of 32 x 32)": [case for case in found if (case[0], case[2]) == (100_000, 32)],
        "pixels per side (10,000 images, 10 classes)": [case for case in found if case[:2] == (10_000, 10)],
    }
    figure = Figure(figsize=(10.5, 6), dpi=80, layout="constrained")
    grid = figure.subplots(2, 3, sharey="row")
    for column, (name, cases) in enumerate(axes_of.items()):
        for row, (label, value) in enumerate((("CPU seconds", "cpu"), ("peak memory, MB", "memory"))):
            axes = grid[row][column]
            cases = sorted(cases, key=lambda case, column=column: case[column])
            for number, stage in enumerate(STAGES):
                values = [getattr(found[case][number], value) for case in cases]
                axes.plot([case[column] for case in cases], values, marker="o", ms=3, lw=1.2, label=stage)
            axes.set(xscale="log", yscale="log", xlabel=name if row else None, ylabel=None if column else label)
            axes.set_xticks([case[column] for case in cases], [f"{case[column]:,}" for case in cases], minor=False)
            axes.minorticks_off()
            axes.grid(color="#dddddd", lw=0.6)
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(STAGES), frameon=False)
    figure.savefig(path)


def parse(text: str) -> Case:
    """The numbers of images, classes and pixels per side."""
    count, classes, side = map(int, text.split(","))
    return count, classes, side


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("growth", __doc__)
    options.add_argument("--cases", nargs="*", metavar="IMAGES,CLASSES,SIDE", default=CASES, help="what to generate")
    options.add_argument("--results", type=Path, default=Path("growth.jsonl"), help="file with one line per case")
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw the results to a PNG file")
    chosen = options.parse_args(arguments)
    for case in map(parse, chosen.cases):
        line = json.dumps([case, run(case)])
        with chosen.results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    lines = map(json.loads, chosen.results.read_text(encoding="utf-8").splitlines())
    found = {tuple(case): [Cost(*cost) for cost in costs] for case, costs in lines}

    print(f"{processor.describe()}; CPU seconds (wall seconds; peak memory, MB)\n")
    rows = [
        [f"{count:,}", f"{classes:,}", side, *(f"{one.cpu:.1f} ({one.seconds:.1f}; {one.memory:.0f})" for one in costs)]
        for (count, classes, side), costs in found.items()
    ]
    print(markdown(["images", "classes", "pixels", *STAGES], rows))
    if chosen.plot:
        plot(chosen.plot, found)


if __name__ == "__main__":
    main()
