"""Learning curves of both sides as one small SVG, drawn without a library.

It holds numbers and fixed words only, and takes the colour of its text from the page, so it suits a light and a dark
one. Loss and accuracy of training are drawn only where they were measured as those of validation are: without
augmentation and label smoothing. Results of earlier versions, without a column `batch_loss`, hold other numbers there.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from darkroom.review.revision import Revision

FILE = "metrics/curves/curves.csv"
MAX_BYTES = 2**22
MAX_POINTS = 200  # of a line
MAX_VALUE = 1e30
COLOURS = {"old": "#d55e00", "new": "#0072b2"}  # the vermilion and blue of Okabe and Ito
PANELS = {"loss": 1, "accuracy, %": 100}  # title -> factor of the column that its first word names

Curves = Mapping[str, np.ndarray]  # column -> values (epochs,) float64

_WIDTH, _HEIGHT, _GAP = 290, 170, 60  # of a panel, and to the left of it
_TOP, _BOTTOM = 50, 40


def read(revision: Revision) -> Curves | None:
    """The learning curves of a revision; None if it has none that can be drawn."""
    contents = revision.read(FILE)
    if contents is None or len(contents) > MAX_BYTES:
        return None
    try:
        rows = list(csv.DictReader(io.StringIO(contents.decode(), newline=""), strict=True))
        names = ["epoch", "val_loss", "val_accuracy"]
        if rows and "batch_loss" in rows[0]:
            names += ["train_loss", "train_accuracy"]
        curves = {name: np.array([float(row[name]) for row in rows]) for name in names}
    except (ValueError, TypeError, KeyError, csv.Error):
        return None
    finite = all((np.abs(values) < MAX_VALUE).all() for values in curves.values())
    return curves if rows and finite and (np.diff(curves["epoch"]) > 0).all() else None


def svg(old: Curves | None, new: Curves | None) -> str:
    """An SVG element with two panels, loss and accuracy by epoch; empty if there are no curves."""
    sides = {name: curves for name, curves in (("old", old), ("new", new)) if curves}
    if not sides:
        return ""
    panels = "".join(
        f'<g transform="translate({_GAP + number * (_WIDTH + _GAP)},{_TOP})">{_panel(title, sides)}</g>'
        for number, title in enumerate(PANELS)
    )
    size = f"0 0 {2 * (_GAP + _WIDTH) + 20} {_TOP + _HEIGHT + _BOTTOM}"
    return (
        f'<svg viewBox="{size}" role="img" aria-label="Learning curves: loss and accuracy by epoch" '
        f'style="max-width: 46rem; width: 100%" font-size="12" fill="currentColor">{_legend(sides)}{panels}</svg>'
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round values from `low` to `high` (low < high), at steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(numbers) <= most:
            break
    return [number * step for number in numbers]


def _lines(sides: Mapping[str, Curves]) -> Iterator[tuple[str, str]]:
    """Each side and split that has a line."""
    for name, curves in sides.items():
        yield from ((name, split) for split in ("val", "train") if f"{split}_loss" in curves)


def _panel(title: str, sides: Mapping[str, Curves]) -> str:
    measure, factor = title.split(",")[0], PANELS[title]
    values = {line: factor * sides[line[0]][f"{line[1]}_{measure}"] for line in _lines(sides)}
    x_range = _range([curves["epoch"] for curves in sides.values()], 0)
    y_range = _range(list(values.values()), 0.05)

    def place(epoch: float, value: float) -> tuple[float, float]:
        return _WIDTH * _fraction(epoch, x_range), _HEIGHT * (1 - _fraction(value, y_range))

    parts = [f'<text y="-8" font-weight="bold">{title}</text>']
    for tick in ticks(*y_range):
        y = place(0, tick)[1]
        parts.append(f'<path d="M0 {y:.1f}h{_WIDTH}" stroke="currentColor" stroke-opacity=".2"/>')
        parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    for tick in ticks(*x_range):
        if tick == int(tick):
            x = place(tick, 0)[0]
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT + 16}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 32}" text-anchor="middle">epoch</text>')
    for (name, split), line in values.items():
        epochs = sides[name]["epoch"]
        shown = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_POINTS)).round().astype(int))
        points = [place(*pair) for pair in zip(epochs[shown], line[shown], strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" {_stroke(name, split)}/>')
        if len(points) <= 30:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{COLOURS[name]}"/>' for x, y in points]
    return "".join(parts)


def _legend(sides: Mapping[str, Curves]) -> str:
    words = {"val": "validation", "train": "training"}
    return "".join(
        f'<g transform="translate({_GAP + 145 * number},14)"><path d="M0 -4h24" {_stroke(name, split)}/>'
        f'<text x="30">{name}, {words[split]}</text></g>'
        for number, (name, split) in enumerate(_lines(sides))
    )


def _stroke(name: str, split: str) -> str:
    dashes = ' stroke-dasharray="5 4"' if split == "train" else ""
    return f'fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dashes}'


def _range(values: Sequence[np.ndarray], margin: float) -> tuple[float, float]:
    """The smallest and the largest value, with this fraction of their distance around them, at least a little."""
    low, high = min(map(np.min, values)), max(map(np.max, values))
    around = margin * (high - low) or (0.0 if high > low else 0.1 * abs(low) or 1.0)
    return float(low - around), float(high + around)


def _fraction(value: float, limits: tuple[float, float]) -> float:
    return (value - limits[0]) / (limits[1] - limits[0])
