"""Whether decisions differ between groups of examples: rates of each slice, and their difference from all others.

The differences follow Hardt, Price and Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016: approval
(demographic parity), and both kinds of errors (equalised odds). A difference is not a verdict: groups may differ in
risk.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from darkroom.evaluate.slices import in_order
from darkroom.statistics.intervals import wilson

RATES = ("approved", "refused_negative", "approved_positive")


def table(
    slices: Mapping[str, np.ndarray], risk: np.ndarray, is_positive: np.ndarray, threshold: float
) -> pd.DataFrame:
    """One row per slice and rate: column, value, examples, rate, of, fraction, low, high, difference and its bounds.

    approved           of all examples of the slice
    refused_negative   of those that are not positive: wrongly refused
    approved_positive  of those that are positive: wrongly approved

    `of` is the number of examples that the rate is of, `difference` that from the examples that are in other slices of
    the column, with Newcombe's 95 % interval (1998, method 10). NaN if there is none to compare.
    """
    refused = risk >= threshold
    parts = {
        "approved": (~refused, np.ones(len(risk), bool)),
        "refused_negative": (refused, ~is_positive),
        "approved_positive": (~refused, is_positive),
    }
    rows = []
    for column, values in slices.items():
        names = np.unique(values.astype(str))
        for name in (names[position] for position in in_order(names)):
            if not name:
                continue
            own, others = values == name, (values != name) & (values != "")
            for rate, (event, among) in parts.items():
                numbers = [(int((event & among & part).sum()), int((among & part).sum())) for part in (own, others)]
                rows.append((column, str(name), int(own.sum()), rate, *_compared(*numbers)))
    columns = ["column", "value", "examples", "rate", "of", "fraction", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "difference_low", "difference_high"])


def _compared(own: tuple[int, int], others: tuple[int, int]) -> tuple[float, ...]:
    """Size, fraction and bounds of a group given its (events, size); the difference from another, and its bounds."""
    (events, size), (other_events, other_size) = own, others
    fraction = events / size if size else np.nan
    low, high = wilson(events, size)
    if not size or not other_size:
        return size, fraction, low, high, np.nan, np.nan, np.nan
    return size, fraction, low, high, fraction - other_events / other_size, *newcombe(own, others)


def newcombe(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """The 95 % interval of the difference of two independent fractions, each as (events, size > 0).

    Newcombe, "Interval estimation for the difference between independent proportions", 1998, method 10.
    """
    (p, (low, high)), (q, (other_low, other_high)) = ((k / n, wilson(k, n)) for k, n in (first, second))
    difference = p - q
    below = np.hypot(p - low, other_high - q)
    above = np.hypot(high - p, q - other_low)
    return float(difference - below), float(difference + above)
