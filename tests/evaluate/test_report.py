from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core.arrays import TEXT, Split
from darkroom.evaluate import confidence, image_examples, metrics, report
from darkroom.evaluate.config import CostConfig, EvaluateConfig
from darkroom.models.inference import probabilities

SETTINGS = EvaluateConfig(
    top_k=2,
    test_time_flip=False,
    gallery_size=4,
    target_accuracy=0.9,
    confidence=0.95,
    conformal_coverage=0.9,
    cost=CostConfig(missed=5.0, refused=1.0),
    slices=[],
    seen_items="leave_out",
)
CLASSES = ("shirt", "coat", "bag")


@pytest.mark.parametrize("site", [True, False])
def test_the_folder_has_all_tables_and_figures(site: bool, tmp_path: Path):
    random = np.random.default_rng(0)
    labels = random.integers(2, size=30)  # there is no bag
    logits = (2 * np.eye(3)[labels] + random.normal(size=(30, 3))).astype(np.float32)
    images = random.integers(256, size=(30, 8, 8, 1), dtype=np.uint8)
    test = Split(images, labels, np.array([f"test/{number}" for number in range(30)], dtype=TEXT))
    fitted = confidence.fit(logits, labels, SETTINGS)
    predictions = metrics.predictions(probabilities(logits), labels, test.ids, CLASSES)
    sliced = {"site": np.repeat(np.array(["a", "b"], dtype=object), 15)} if site else {}
    groups = np.repeat(np.arange(10), 3).astype(str).astype(TEXT)
    report.write(
        tmp_path / "out",
        test,
        logits,
        predictions,
        fitted,
        CLASSES,
        sliced,
        groups,
        partial(image_examples.show, limit=4),
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"per_class.csv", "confused_pairs.csv", "mistakes.png", "suspect_labels.png", "contact_sheet.png"} <= names
    assert ("slices.csv" in names) == site
    per_class = pd.read_csv(tmp_path / "out/per_class.csv")
    assert per_class["support"].tolist()[2] == 0 and per_class["recall"].isna().tolist() == [False, False, True]
    correct = logits.argmax(1) == labels
    assert pd.read_csv(tmp_path / "out/confused_pairs.csv")["count"].sum() == (~correct).sum()
    if site:
        found = pd.read_csv(tmp_path / "out/slices.csv")
        assert found["accuracy"].tolist() == pytest.approx([correct[:15].mean(), correct[15:].mean()], abs=1e-5)
