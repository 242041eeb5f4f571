"""The choice of rows of a table to label; histories are refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.acquire import __main__ as acquire
from darkroom.acquire import batch, embedding
from darkroom.core import arrays, params
from darkroom.models import checkpoints
from darkroom.models.registry import build
from stages import preprocess
from tests import histories
from tests.repository import ROOT
from tests.tables import in_project

FOLDER = Path(".darkroom/queue")
SIZES = {"hidden_size": 8, "depth": 1, "embed_dim": 4, "bins": 4, "dropout": 0.0, "hidden_values": 0.0}
ARGUMENTS = {"mlp": SIZES, "tabm": {**SIZES, "members": 3}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed clients as the current folder, a quarter of them without a class."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    params.PATH.write_text(
        text.replace("dataset: fashion_mnist", "dataset: toy").replace("name: resnet ", "name: mlp ")
    )
    random = np.random.default_rng(0)
    in_project(
        [
            {"income": f"{random.normal():.3f}", "job": "ab"[number % 2], "y": ["yes", "no", "no", ""][number % 4]}
            for number in range(80)
        ]
    )
    preprocess.main()


def train(name: str) -> None:
    """Put a network with random weights into models/trained."""
    manifest = arrays.read_manifest("data/arrays")
    torch.manual_seed(0)
    network = build(name, ARGUMENTS[name], manifest.shape, len(manifest.classes))
    network.fit_inputs(arrays.read_split("data/arrays", "train").inputs)
    checkpoints.save(
        "models/trained", network, checkpoints.describe(name, ARGUMENTS[name], manifest, {"device": "cpu"})
    )


def written() -> tuple[list[dict[str, str]], dict]:
    with (FOLDER / "queue.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file)), json.loads((FOLDER / "queue.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("network", "name"), [("mlp", "badge"), ("tabm", "margin"), ("tabm", "typiclust")])
def test_rows_are_chosen_by_a_trained_network(network: str, name: str, capsys: pytest.CaptureFixture):
    train(network)
    acquire.main(["--count", "4", "--strategy", name])
    rows, about = written()
    assert len({row["id"] for row in rows} & set(arrays.read_unlabelled("data/arrays").ids.tolist())) == 4
    assert list(rows[0]) == ["rank", "id", "score", "predicted", "reason"]
    assert {row["predicted"] for row in rows} <= {"yes", "no"} and about["features"] == "trained"
    assert [path.name for path in sorted(FOLDER.iterdir())] == ["queue.csv", "queue.json"]
    printed = capsys.readouterr().out
    assert "Fill in the class" in printed and "darkroom.label" not in printed


@pytest.mark.usefixtures("project")
def test_without_a_network_the_features_are_the_columns():
    acquire.main(["--count", "4"])
    assert written()[1]["features"] == "rows" and written()[1]["strategy"] == "typiclust"
    with pytest.raises(SystemExit, match=r"--features images does not go with rows: use --features rows\."):
        acquire.main(["--count", "4", "--features", "images"])


def test_columns_are_standardised_and_categories_one_hot():
    rows = np.array([[1, 2, np.nan], [3, 0, np.nan], [np.nan, 1, np.nan]], np.float32)
    fitted = embedding.moments(rows)
    assert fitted.tolist() == [[2.0, 1.0, 0.0], [1.0, pytest.approx((2 / 3) ** 0.5), 1.0]]
    found = embedding.standardised(rows, (0, 3, 0), fitted)
    assert found.tolist() == [[-1, 0, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_many_categories_share_buckets(monkeypatch: pytest.MonkeyPatch):
    rows = np.array([[5000, 2, 1.0], [5000, 0, 1.0], [7, 0, 1.0]], np.float32)
    found = embedding.standardised(rows, (10_000, 3, 0), embedding.moments(rows))
    assert found.shape == (3, 1 + embedding.BUCKETS)
    assert (found @ found.T).tolist() == [[2, 1, 0], [1, 2, 1], [0, 1, 2]]


def test_equal_rows_are_chosen_once():
    rows = np.array([[1, np.nan], [1, 2], [1, np.nan], [2, 1]], np.float32)
    assert batch.distinct_rows(rows, False).tolist() == [True, True, False, True]


def test_histories_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    histories.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^acquire: Films has histories, .* newer events .*dvc repro`\.$"):
        acquire.main([])
