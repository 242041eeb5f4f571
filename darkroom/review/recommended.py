"""Results that are recommendations: predictions with the rank of the label among all items.

They are compared by hits, labels among the first SHOWN items, as those of classifiers by correct predictions.
"""

import numpy as np
import pandas as pd

from darkroom.recommend import ranking
from darkroom.recommend.ranking import SHOWN
from darkroom.review import significance
from darkroom.review.significance import Difference

RANK, FIRST = "rank", "recommended"  # columns: the rank of the label, and the first item
KEY, NAME = f"hr_at_{SHOWN}", f"HR@{SHOWN}"  # the primary metric


def hits(predictions: pd.DataFrame) -> np.ndarray:
    """(N,) bool: the examples whose label is among the first SHOWN items."""
    return ranking.hits(predictions[RANK].to_numpy(), SHOWN)


def secondary(old: pd.DataFrame, new: pd.DataFrame, groups: np.ndarray | None) -> dict[str, Difference]:
    """The paired differences of the other metrics of rankings of the same N examples, by key."""
    ranks = [one[RANK].to_numpy() for one in (old, new)]
    found = {f"hr_at_{k}": significance.accuracy(*(ranking.hits(one, k) for one in ranks), groups) for k in (1, 5, 20)}
    found[f"ndcg_at_{SHOWN}"] = significance.mean(*(ranking.gains(one, SHOWN) for one in ranks), groups)
    return found | {"mrr": significance.mean(*map(ranking.reciprocal, ranks), groups)}
