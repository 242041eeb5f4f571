"""The figure of a learning curve."""

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from darkroom.figures.drawing import CORRECT, INCORRECT
from darkroom.learning_curve.power_law import Curve, Fit

_DIGITS = ((1.2, (1, 2, 3, 5, 7)), (2.5, (1, 2, 5)), (math.inf, (1,)))  # most decades of an axis, and its ticks


def draw(
    labels: np.ndarray, incorrect: np.ndarray, measured: int, wanted: np.ndarray, found: Fit, title: str, measure: str
) -> Figure:
    """The errors of trainings with `labels` (N,), the law, and what to expect with the labels `wanted` (M,).

    `incorrect` (N,) of `measured` validation examples were incorrect: 1 - `measure`. Both axes are logarithmic: a power
    law without offset is a straight line, and no error at all is drawn as half a one.
    """
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(
        xlabel="labels of the training split",
        ylabel=f"error (1 - {measure}) on the validation split",
        xscale="log",
        yscale="log",
    )
    axes.set_title(f"{title}: error by number of labels", parse_math=False)
    x = np.geomspace(labels.min(), labels.max(), 100)
    axes.plot(x, found.curve.error(x), color=CORRECT, label=_law(found.curve))
    axes.plot(wanted, found.median, color=CORRECT, ls="--", label="expected")
    axes.fill_between(wanted, found.low, found.high, color=CORRECT, alpha=0.2, lw=0, label="95 % interval")
    has_errors = incorrect > 0
    axes.plot(labels[has_errors], incorrect[has_errors] / measured, "o", ms=4, color=INCORRECT, label="trainings")
    if not has_errors.all():
        none = labels[~has_errors]
        style = {"ms": 6, "color": INCORRECT, "mfc": "none", "clip_on": False}
        axes.plot(none, np.full(len(none), 0.5 / measured), "v", label="trainings without an error", **style)
    axes.axvline(labels.max(), color="#888888", lw=0.8, ls=":")
    shown = [*incorrect[has_errors] / measured, *found.median, *found.high, found.curve.error(labels.max())]
    lowest = max(min(shown), 0.5 / measured) if has_errors.all() else 0.5 / measured
    axes.set_ylim(max(lowest / 1.6, 0.3 / measured), min(1.0, 1.2 * max(shown)))
    _set_ticks(axes.xaxis, "{:,.0f}".format)
    _set_ticks(axes.yaxis, lambda value: f"{100 * value:.3g} %")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _set_ticks(axis: Axis, text: Callable[[float], str]) -> None:
    """Label the powers of ten, and some of their multiples on a short axis."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=next(digits for most, digits in _DIGITS if decades <= most)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _law(curve: Curve) -> str:
    """The law as mathematics; a constant if the exponent or the factor has no influence."""
    if round(curve.b, 2) == 0:
        return f"law: {curve.a + curve.c:.3g}"
    offset = f" + {curve.c:.3g}" if curve.c > 0 else ""
    return f"law: ${curve.a:.3g}\\,n^{{-{curve.b:.2f}}}{offset}$"
