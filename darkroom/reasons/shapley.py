"""What each column of a row adds to the log-odds of a class: Shapley values by sampled orders of the columns.

Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature contributions", 2014;
each order is used backwards too (Mitchell et al., "Sampling permutations for Shapley value estimation", JMLR 2022). The
values of a row add up to its log-odds minus the mean log-odds of the background rows, whichever orders are drawn.
"""

from collections.abc import Callable

import numpy as np

from darkroom.core.randomness import numpy_generator

FILE = "background.npy"
BACKGROUND = 16  # rows to compare with; each is used in one order and its reverse

LogOdds = Callable[[np.ndarray], np.ndarray]  # of rows (M, C) float32: (M,)


def background(rows: np.ndarray, count: int = BACKGROUND) -> np.ndarray:
    """Typical rows (count, C) float32: each column has values of the rows (N, C), drawn on their own.

    So no row is one of those given, which may be personal data.
    """
    return np.stack(
        [
            np.array(rows[numpy_generator(0, "background", column).integers(len(rows), size=count), column])
            for column in range(rows.shape[1])
        ],
        axis=1,
    )


def log_odds(logits: np.ndarray, label: int) -> np.ndarray:
    """The log-odds (M,) float64 of a class by calibrated logits (M, K)."""
    given = logits.astype(np.float64)
    return given[:, label] - np.logaddexp.reduce(np.delete(given, label, 1), axis=1)


def contributions(score: LogOdds, row: np.ndarray, typical: np.ndarray) -> tuple[np.ndarray, float]:
    """What each column of a row (C,) adds (C,) float64, and the mean of `score` over the `typical` rows (B, C)."""
    paths, orders = paths_from(row, typical)
    values = score(paths.reshape(-1, len(row))).astype(np.float64).reshape(len(orders), -1)
    found = np.zeros(len(row))
    np.add.at(found, orders, np.diff(values, axis=1))
    return found / len(orders), float(values[:, 0].mean())


def paths_from(row: np.ndarray, typical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (2 B, C + 1, C) that turn each typical row into `row` column by column, and the orders (2 B, C)."""
    count, random = len(row), numpy_generator(0, "orders", len(row))
    drawn = [random.permutation(count) for _ in typical]
    orders = np.array([order for one in drawn for order in (one, one[::-1])])
    ranks = orders.argsort(1)
    changed = ranks[:, None] < np.arange(count + 1)[:, None]  # (2 B, C + 1, C)
    return np.where(changed, row, typical.repeat(2, 0)[:, None]).astype(np.float32), orders
