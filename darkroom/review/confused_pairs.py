"""Which confusions of two classes became more frequent or rarer."""

import numpy as np
import pandas as pd


def changes(labels: np.ndarray, old: np.ndarray, new: np.ndarray) -> pd.DataFrame:
    """The pairs of label and incorrect prediction whose counts differ, the largest difference first.

    `labels`, `old` and `new` (N,) are the names of true and predicted classes. Columns: label, predicted, old and new
    (counts). Ties are in the order of the names.
    """
    counts = {}
    for side, predicted in (("old", old), ("new", new)):
        wrong = pd.DataFrame({"label": labels, "predicted": predicted})[np.asarray(labels != predicted)]
        counts[side] = wrong.value_counts(["label", "predicted"])
    table = pd.DataFrame(counts).fillna(0).astype(int).reset_index()
    table = table[table["old"] != table["new"]]
    order = np.lexsort((table["predicted"], table["label"], -(table["new"] - table["old"]).abs()))
    return table.iloc[order].reset_index(drop=True)
