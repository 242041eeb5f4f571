"""The figure of a learning curve."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from darkroom.figures.drawing import CORRECT, INCORRECT
from darkroom.learning_curve.power_law import Fit


def draw(labels: np.ndarray, errors: np.ndarray, wanted: np.ndarray, found: Fit, title: str) -> Figure:
    """The errors (N,) of trainings with `labels` (N,), the curve, and the interval of the labels `wanted` (M,).

    Both axes are logarithmic: a power law without offset is a straight line.
    """
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(
        xlabel="labels of the training split", ylabel="error on the validation split", title=title
    )
    x = np.geomspace(labels.min(), wanted.max(), 200)
    axes.plot(x, found.curve.error(x), color=CORRECT, label=_law(found))
    axes.plot(wanted, found.median, color=CORRECT, ls="--", label="expected")
    axes.fill_between(wanted, found.low, found.high, color=CORRECT, alpha=0.2, lw=0, label="95 % interval")
    axes.plot(labels, errors, "o", ms=4, color=INCORRECT, label="trainings")
    axes.axvline(labels.max(), color="#888888", lw=0.8, ls=":")
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)
    return figure


def _law(found: Fit) -> str:
    curve = found.curve
    return f"{curve.a:.3g} n^-{curve.b:.2f} + {curve.c:.3g}"
