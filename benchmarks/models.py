"""Compare the networks at equal training time: each trains for about the same seconds and is then tested.

All other parameters are those of params.yaml. Prints a table and writes docs/models.png, test error against training
time. Needs the output of `dvc repro preprocess`.
"""

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.command import parser
from benchmarks.runs import run
from benchmarks.tables import markdown
from darkroom.core import arrays, processor
from darkroom.core.outputs import new_file
from darkroom.models.config import ModelConfig
from darkroom.models.registry import LIBRARIES, OF_IMAGES

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
FAMILIES = [name for name in OF_IMAGES if name not in LIBRARIES]  # those of libraries have many architectures each
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")  # Okabe and Ito's
MARKERS = "osD^vP*X"


def main() -> None:
    options = parser("models", __doc__)
    options.add_argument("--seconds", type=float, nargs="+", default=[20, 60], help="training times")
    options.add_argument("--models", nargs="+", default=FAMILIES, choices=ModelConfig.families(), help="networks")
    chosen = options.parse_args()
    manifest = arrays.read_manifest("data/arrays")
    images = manifest.counts["train"]
    rows = []
    for name in chosen.models:
        trial = run("ours", **{"model.name": name, "train.epochs": max(0.02, min(0.2, 6000 / images))})
        for seconds in chosen.seconds:
            epochs = round(seconds * trial["images_per_second"] / images, 2)
            measured = run("ours", **{"model.name": name, "train.epochs": max(0.05, epochs)})
            rows.append({**measured, "model": name, "epochs": epochs})
            print(f"{name}: {measured['accuracy']:.2%} after {epochs} epochs, {measured['seconds']:.0f} s", flush=True)

    command = f"python -m benchmarks.models --seconds {' '.join(f'{seconds:g}' for seconds in chosen.seconds)}"
    table = markdown(list(COLUMNS), ([cell.format(**row) for cell in COLUMNS.values()] for row in rows))
    text = (
        f"# All networks at equal training time\n\n{manifest.title}, {processor.describe()}; one seed, `{command}`\n\n"
        f"{table}\n\n![Test error against training time](models.png)\n"
    )
    with new_file("docs/models.png") as path:
        figure = draw(rows, f"{manifest.title} on {processor.describe()}")
        figure.savefig(path, format="png", metadata={"Software": None})
    print(text)


def draw(rows: list[dict], title: str) -> Figure:
    """Test error in percent, on a logarithmic scale, against seconds of training; one line per network."""
    figure = Figure(figsize=(7, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(
        title=title, xlabel="training time (s)", ylabel="test error (%, logarithmic)", yscale="log"
    )
    for number, name in enumerate(dict.fromkeys(row["model"] for row in rows)):
        points = [(row["seconds"], 100 - 100 * row["accuracy"]) for row in rows if row["model"] == name]
        style = {"marker": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)]}
        axes.plot(*zip(*points, strict=True), label=name, **style)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
