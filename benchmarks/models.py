"""Compare all networks with equal training time, by the recipe of params.yaml: accuracy on the test set, speed, memory.

Prints a table and writes docs/models.png, test errors against training time. Run `dvc repro preprocess` first.
"""

import argparse

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.runs import run
from darkroom.core import arrays, processor
from darkroom.core.outputs import new_file
from darkroom.models.config import ModelConfig

COLUMNS = {
    "network": "`{model}`",
    "parameters": "{parameters:,}",
    "FLOPs forward": "{flops_per_image:,}",
    "images/s": "{images_per_second:,.0f}",
    "MFU": "{mfu:.0%}",
    "memory, MB": "{peak_memory_mb:,.0f}",
    "epochs": "{epochs:g}",
    "seconds": "{seconds:.0f}",
    "test accuracy": "{accuracy:.2%}",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[20, 60], help="budgets of training time (default: 20 60)"
    )
    own = [name for name in ModelConfig.families() if name != "torchvision"]
    parser.add_argument("--models", nargs="+", default=own, help=f"networks (default: {' '.join(own)})")
    chosen = parser.parse_args()
    manifest = arrays.read_manifest("data/arrays")
    rows = []
    for name in chosen.models:
        speed = run(
            "ours", **{"model.name": name, "train.epochs": max(0.02, min(0.2, 6000 / manifest.counts["train"]))}
        )["images_per_second"]
        for seconds in chosen.seconds:
            epochs = round(seconds * speed / manifest.counts["train"], 2)
            rows.append(
                {
                    **run("ours", **{"model.name": name, "train.epochs": max(0.05, epochs)}),
                    "model": name,
                    "epochs": epochs,
                }
            )
            print(f"{name}: {rows[-1]['accuracy']:.2%} after {epochs} epochs, {rows[-1]['seconds']:.0f} s", flush=True)

    budgets = " ".join(f"{seconds:g}" for seconds in chosen.seconds)
    title = f"{manifest.title}, {processor.describe()}; one seed, `python -m benchmarks.models --seconds {budgets}`"
    table = [
        " | ".join(COLUMNS),
        " | ".join(["---"] * len(COLUMNS)),
        *(" | ".join(cell.format(**row) for cell in COLUMNS.values()) for row in rows),
    ]
    with new_file("docs/models.png") as path:
        draw(rows, f"{manifest.title} on {processor.describe()}").savefig(
            path, format="png", metadata={"Software": None}
        )
    print("\n".join([title, "", *(f"| {line} |" for line in table)]))


def draw(rows: list[dict], title: str) -> Figure:
    """Plot test errors in percent (logarithmic) against seconds of training, one line per network."""
    figure = Figure(figsize=(7, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(
        title=title, xlabel="training time, s", ylabel="test errors, % (logarithmic)", yscale="log"
    )
    colours = [
        "#0072B2",
        "#D55E00",
        "#009E73",
        "#CC79A7",
        "#E69F00",
        "#56B4E9",
        "#000000",
        "#999999",
    ]  # Okabe and Ito's
    for number, name in enumerate(dict.fromkeys(row["model"] for row in rows)):
        points = [(row["seconds"], 100 - 100 * row["accuracy"]) for row in rows if row["model"] == name]
        axes.plot(*zip(*points, strict=True), marker="osD^vP*X"[number % 8], color=colours[number % 8], label=name)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
