from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_csv
from darkroom.robustness import measurement
from darkroom.robustness.corruptions import CORRUPTIONS, corrupt


class Brightness(nn.Module):
    """Takes a picture whose mean is above that of all for one of class 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((1, 2, 3)) * self.weight
        return torch.stack([-means, means], 1)


def test_each_corruption_and_severity_is_measured():
    labels = np.arange(20) % 2
    images = np.random.default_rng(0).integers(60, size=(20, 9, 9, 1), dtype=np.uint8) + (
        100 * labels[:, None, None, None]
    ).astype(np.uint8)
    split = Split(images, labels, np.arange(20).astype(str))
    mean = (float(images.mean()) / 255,)
    manifest = Manifest(
        "toy", "Toys", "CC0", ("dark", "bright"), (9, 9, 1), mean, (0.2,), {"test": 20}, Augmentation(False, 0), ""
    )
    table = measurement.measure(Brightness(), split, manifest, [1, 5], 3, torch.float32)
    assert table["corruption"].tolist() == [name for name in CORRUPTIONS for _ in range(2)]
    assert table["severity"].tolist() == [1, 5] * len(CORRUPTIONS)
    for row in table.itertuples():
        bright = corrupt(images, row.corruption, row.severity, 3).mean((1, 2, 3)) > images.mean()
        assert row.accuracy == pytest.approx((bright == labels).mean())
    assert table["accuracy"].min() < 1 == table["accuracy"].max()


TABLE = pd.DataFrame({"corruption": ["jpeg", "jpeg", "blur"], "severity": [1, 2, 1], "accuracy": [0.5, 0.75, 1.0]})


def test_the_summary_by_hand():
    assert measurement.summary(TABLE, None) == {"mean_accuracy": 0.75, "accuracy": {"jpeg": 0.625, "blur": 1.0}}


def test_errors_are_shares_of_the_baselines_by_hand():
    baseline = pd.DataFrame(
        {"corruption": ["blur", "jpeg", "jpeg", "jpeg"], "severity": [1, 3, 2, 1], "accuracy": [0.5, 0, 0.5, 0.25]}
    )
    found = measurement.summary(TABLE, baseline)
    assert found["corruption_error"] == pytest.approx({"jpeg": (0.5 + 0.25) / (0.75 + 0.5), "blur": 0})
    assert found["mean_corruption_error"] == pytest.approx(0.3)


def test_a_network_against_itself_errs_as_often():
    table = TABLE.assign(accuracy=[0.5, 0.75, 0.875])
    assert measurement.summary(table, table)["mean_corruption_error"] == 1


BASELINE = pd.DataFrame(product(CORRUPTIONS, (1, 3)), columns=["corruption", "severity"]).assign(accuracy=0.5)


def test_a_baseline_is_read_as_the_stage_writes_it(tmp_path: Path):
    path = tmp_path / "toy.csv"
    assert measurement.read_baseline(path, [1, 3]) is None
    write_csv(path, BASELINE)
    pd.testing.assert_frame_equal(measurement.read_baseline(path, [1, 3]), BASELINE)
    path.write_text("# of the network cnn\n" + path.read_text())
    assert measurement.read_baseline(path, [3])["severity"].tolist() == [3] * len(CORRUPTIONS)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (BASELINE.drop(columns="accuracy"), r"toy\.csv is no table of corruption, severity and accuracy \("),
        (BASELINE.assign(accuracy="most"), r"toy\.csv is no table of corruption, severity and accuracy \("),
        (
            BASELINE.assign(accuracy=np.where(BASELINE.index == 3, 1.5, 0.5)),
            r"\(shot_noise at severity 3 has the accuracy 1\.5\)",
        ),
        (
            BASELINE.assign(accuracy=np.where(BASELINE.index == 3, -0.5, 0.5)),
            r"\(shot_noise at severity 3 has the accuracy -0\.5\)",
        ),
        (
            BASELINE.assign(accuracy=np.where(BASELINE.index == 3, np.nan, 0.5)),
            r"\(shot_noise at severity 3 has the accuracy nan\)",
        ),
        (pd.concat([BASELINE, BASELINE[3:4]]), r"\(shot_noise at severity 3 is there twice\)"),
        (
            BASELINE.astype({"severity": float}).replace(1.0, 1.7),
            r"toy\.csv is no table of corruption, severity and accuracy \(",
        ),
        (BASELINE.drop(index=3), r"toy\.csv has no row for shot_noise at severity 3"),
        (
            BASELINE.assign(accuracy=np.where(BASELINE.index < 2, 1.0, 0.5)),
            r"toy\.csv is of a network that never errs under gaussian_noise",
        ),
    ],
)
def test_a_baseline_that_says_nothing_is_refused(tmp_path: Path, table: pd.DataFrame, sentence: str):
    write_csv(tmp_path / "toy.csv", table)
    with pytest.raises(DarkroomError, match=sentence):
        measurement.read_baseline(tmp_path / "toy.csv", [1, 3])


def test_the_baselines_here_have_every_corruption_at_every_severity():
    files = list((Path(__file__).parents[2] / "data/baselines").glob("*.csv"))
    assert files
    for file in files:
        assert len(measurement.read_baseline(file, range(1, 6))) == 5 * len(CORRUPTIONS)
        assert file.read_text().startswith("# ")  # what it was made of
