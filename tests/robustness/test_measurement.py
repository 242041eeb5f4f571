from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_csv
from darkroom.models import checkpoints
from darkroom.models.checkpoints import Trained
from darkroom.robustness import measurement, scores
from darkroom.robustness.corruptions import CORRUPTIONS, corrupt
from tests.packs import AS_IS


class Brightness(nn.Module):
    """Predicts class 1 for images that are brighter than the mean of the data."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((1, 2, 3)) * self.weight
        return torch.stack([-means, means], 1)


def test_every_corruption_and_severity_is_measured():
    labels = np.arange(20) % 2
    noise = np.random.default_rng(0).integers(60, size=(20, 9, 9, 1), dtype=np.uint8)
    images = noise + (100 * labels[:, None, None, None]).astype(np.uint8)
    split = Split(images, labels, np.arange(20).astype(str))
    mean, augmentation = (float(images.mean()) / 255,), Augmentation(False, 0)
    classes, counts = ("dark", "bright"), {"test": 20}
    manifest = Manifest("toy", "Toys", "CC0", classes, (9, 9, 1), mean, (0.2,), counts, augmentation, "", **AS_IS)
    description = checkpoints.describe("brightness", {}, manifest, {"device": "cpu"})
    table = measurement.measure(Trained(Brightness(), description, manifest, 1), split, [1, 5], 3)
    assert table["corruption"].tolist() == [name for name in CORRUPTIONS for _ in range(2)]
    assert table["severity"].tolist() == [1, 5] * len(CORRUPTIONS)
    for row in table.itertuples():
        bright = corrupt(images, row.corruption, row.severity, 3).mean((1, 2, 3)) > images.mean()
        assert row.accuracy == pytest.approx((bright == labels).mean())
    assert table["accuracy"].min() < 1 == table["accuracy"].max()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=30))
def test_the_area_of_risks_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]):
    risk, labels = np.array([*(one for one, _ in pairs), 0, 1]), np.array([*(int(of) for _, of in pairs), 0, 1])
    split = Split(risk[:, None].astype(np.float32), labels, np.arange(len(labels)).astype(str))
    found = scores.of_risks(split)(lambda rows: np.concatenate([-rows, rows], 1), split.inputs)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(labels, risk))
    assert found["accuracy"] == pytest.approx(((risk > 0) == labels).mean())


@pytest.mark.parametrize("label", [0, 1])
def test_risks_of_one_class_have_no_area(label: int):
    split = Split(np.array([[-1], [2], [3]], np.float32), np.full(3, label), np.arange(3).astype(str))
    found = scores.of_risks(split)(lambda rows: np.concatenate([-rows, rows], 1), split.inputs)
    assert found == {"accuracy": pytest.approx((1 / 3, 2 / 3)[label])}


TABLE = pd.DataFrame({"corruption": ["jpeg", "jpeg", "blur"], "severity": [1, 2, 1], "accuracy": [0.5, 0.75, 1.0]})
WEAKER = pd.DataFrame(
    {"corruption": ["blur", "jpeg", "jpeg", "jpeg"], "severity": [1, 3, 2, 1], "accuracy": [0.5, 0, 0.5, 0.25]}
)


def test_summary_by_hand():
    assert measurement.summary(TABLE, None) == {"mean_accuracy": 0.75, "worst_corruption_accuracy": 0.625}


def test_mean_corruption_error_by_hand():
    numbers = measurement.summary(TABLE, WEAKER)
    assert set(numbers) == {"mean_accuracy", "worst_corruption_accuracy", "mean_corruption_error"}
    of_jpeg, of_blur = (0.5 + 0.25) / (0.75 + 0.5), 0
    assert numbers["mean_corruption_error"] == pytest.approx((of_jpeg + of_blur) / 2)


def test_mean_corruption_error_relative_to_itself_is_1():
    table = TABLE.assign(accuracy=[0.5, 0.75, 0.875])
    assert measurement.summary(table, table)["mean_corruption_error"] == 1


def test_table_has_the_accuracy_of_the_baseline_for_the_same_rows():
    table = measurement.with_baseline(TABLE, WEAKER)
    assert table.drop(columns="baseline_accuracy").equals(TABLE)
    assert table["baseline_accuracy"].tolist() == [0.25, 0.5, 0.5]
    assert measurement.with_baseline(TABLE, None).equals(TABLE)


def test_summary_line_names_the_worst_corruption():
    line = measurement.summary_line(TABLE, 20)
    assert all(part in line for part in ("20 test examples", "75.00%", "62.50%", "jpeg"))


BASELINE = pd.DataFrame(product(CORRUPTIONS, (1, 3)), columns=["corruption", "severity"]).assign(accuracy=0.5)


def test_a_missing_baseline_is_none(tmp_path: Path):
    assert measurement.read_baseline(tmp_path / "toy.csv", [1, 3]) is None


def test_baseline_is_read_at_the_severities_with_comments_ignored(tmp_path: Path):
    path = tmp_path / "toy.csv"
    write_csv(path, BASELINE)
    pd.testing.assert_frame_equal(measurement.read_baseline(path, [1, 3]), BASELINE)
    path.write_text("# of the network cnn\n" + path.read_text())
    assert measurement.read_baseline(path, [3])["severity"].tolist() == [3] * len(CORRUPTIONS)


def with_accuracy(rows: np.ndarray, accuracy: float) -> pd.DataFrame:
    return BASELINE.assign(accuracy=np.where(rows, accuracy, 0.5))


ROW = BASELINE.index == 3


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (BASELINE.drop(columns="accuracy"), "accuracy"),
        (BASELINE.assign(accuracy="most"), "most"),
        (with_accuracy(ROW, 1.5), r"shot_noise at severity 3.* 1\.5"),
        (with_accuracy(ROW, -0.5), r"shot_noise at severity 3.* -0\.5"),
        (with_accuracy(ROW, np.nan), "shot_noise at severity 3.* nan"),
        (pd.concat([BASELINE, BASELINE[3:4]]), "shot_noise at severity 3.* twice"),
        (BASELINE.astype({"severity": float}).replace(1.0, 1.7), "severity"),
        (BASELINE.drop(index=3), "no row for shot_noise at severity 3"),
        (with_accuracy(BASELINE.index < 2, 1.0), "gaussian_noise"),
    ],
)
def test_an_unusable_baseline_is_rejected(tmp_path: Path, table: pd.DataFrame, match: str):
    write_csv(tmp_path / "toy.csv", table)
    with pytest.raises(DarkroomError, match=rf"toy\.csv.*{match}"):
        measurement.read_baseline(tmp_path / "toy.csv", [1, 3])


def test_baselines_of_the_project_are_complete():
    files = list((Path(__file__).parents[2] / "data/baselines").glob("*.csv"))
    assert files
    for file in files:
        assert len(measurement.read_baseline(file, range(1, 6))) == 5 * len(CORRUPTIONS)
        assert file.read_text().startswith("# ")  # says how it was made


@pytest.mark.parametrize("samples", [1, 7, 30, 99])
def test_a_subset_is_stratified_seeded_and_in_order(samples: int):
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    split = Split(np.arange(100, dtype=np.uint8)[:, None], labels, np.arange(100).astype(str))
    found = measurement.subset(split, samples, seed=1)
    assert len(found) == samples
    assert (np.diff(found.inputs[:, 0].astype(int)) > 0).all()
    assert np.array_equal(found.labels, labels[found.inputs[:, 0]])
    counts = np.bincount(found.labels, minlength=3)
    assert (abs(counts - samples * np.array([0.6, 0.3, 0.1])) <= 1).all()
    assert np.array_equal(found.ids, measurement.subset(split, samples, seed=1).ids)


def test_rare_classes_are_in_a_subset_as_often_as_others():
    labels = np.repeat(np.arange(2100), [1] * 2000 + [20] * 100)
    split = Split(np.zeros((4000, 1), np.uint8), labels, np.arange(4000).astype(str))
    found = measurement.subset(split, 800, seed=1)
    assert 340 <= (found.labels < 2000).sum() <= 460  # of 400 expected


def test_a_split_that_is_small_enough_is_taken_whole():
    split = Split(np.zeros((3, 1), np.uint8), np.zeros(3, np.int64), np.array(["a", "b", "c"]))
    assert measurement.subset(split, 3, seed=1) is split


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((28, 28, 1), 10_000), ((32, 32, 3), 10_000), ((64, 64, 3), 3360), ((224, 224, 3), 274), ((9000, 9000, 3), 1)],
)
def test_fewer_large_images_are_corrupted(shape: tuple[int, int, int], expected: int):
    found = measurement.affordable(10_000, 3, shape)
    assert found == expected
    assert found == 1 or 39 * found * shape[0] * shape[1] <= measurement.MAX_PIXELS
    assert measurement.affordable(100, 3, shape) == min(100, expected)
    assert measurement.affordable(10_000, 1, (64, 64, 3)) == 10_000
