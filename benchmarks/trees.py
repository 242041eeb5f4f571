"""Compare the trained network of a table with LightGBM and logistic regression on the same split.

Needs the output of `dvc repro evaluate` on a dataset with `kind: table` and two classes, and `pip install lightgbm`,
which Darkroom itself does not use. Each baseline trains on the training and validation rows and is measured on the test
rows. The difference is the baseline's minus the network's, with DeLong's paired 95 % interval.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom.core import arrays
from darkroom.review import ranking

COLUMNS = ("classifier", "ROC AUC", "Brier score", "difference of ROC AUC")
SETTINGS = {  # of LightGBM, fixed: small learning rate, small trees, half of the columns per tree
    "n_estimators": 300,
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_child_samples": 40,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.6,
    "verbose": -1,
}


def main() -> None:
    options = parser("trees", __doc__)
    options.add_argument("--seed", type=int, default=0, help="of LightGBM")
    seed = options.parse_args().seed
    manifest = arrays.read_manifest("data/arrays")
    if manifest.kind != "table" or len(manifest.classes) != 2:
        raise SystemExit(f"trees: {manifest.title} is not a table with two classes: set data.dataset to one.")
    try:
        from lightgbm import LGBMClassifier
    except ModuleNotFoundError:
        raise SystemExit("trees: LightGBM is not installed: pip install lightgbm") from None
    train, val, test = (arrays.read_split("data/arrays", name) for name in ("train", "val", "test"))
    rows = np.concatenate([train.inputs, val.inputs])
    labels = np.concatenate([train.labels, val.labels])
    categories = np.flatnonzero(manifest.shape).tolist()
    trees = LGBMClassifier(**SETTINGS, random_state=seed).fit(rows, labels, categorical_feature=categories)
    linear = logistic(categories, rows.shape[1]).fit(rows, labels)
    scores = {
        "the network": network_scores(test.ids.tolist(), manifest.classes[1]),
        "LightGBM": trees.predict_proba(test.inputs)[:, 1],
        "logistic regression": linear.predict_proba(test.inputs)[:, 1],
    }
    print(markdown(COLUMNS, table(scores, np.asarray(test.labels) == 1)))


def logistic(categories: list[int], columns: int) -> object:
    """Logistic regression on standardised numbers, the median where missing, and one-hot categories."""
    numbers = [index for index in range(columns) if index not in categories]
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), categories),
    )
    return make_pipeline(prepared, LogisticRegression(max_iter=1000))


def network_scores(ids: list[str], positive: str) -> np.ndarray:
    """The calibrated probability (N,) of the class `positive` for the test rows, from metrics/predictions.csv."""
    found = pd.read_csv("metrics/predictions.csv", dtype={"id": str, "label": str}).set_index("id")
    if set(found.index) != set(ids):
        raise SystemExit("trees: metrics/predictions.csv is of other rows: run `dvc repro evaluate`.")
    own = found.loc[ids]
    return np.where(own["label"] == positive, own["label_probability"], 1 - own["label_probability"])


def table(scores: dict[str, np.ndarray], is_positive: np.ndarray) -> list[tuple[str, ...]]:
    """The rows of the table; the first of `scores` is what the others are compared with."""
    base, rows = next(iter(scores.values())), []
    for name, score in scores.items():
        found = None if score is base else ranking.difference(is_positive, base, score)
        shown = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})" if found else ""
        auc, brier = roc_auc_score(is_positive, score), brier_score_loss(is_positive, score)
        rows.append((name, f"{auc:.4f}", f"{brier:.4f}", shown))
    return rows


if __name__ == "__main__":
    main()
