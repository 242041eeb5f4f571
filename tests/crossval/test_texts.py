"""Cross-validation of texts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core import arrays
from darkroom.crossval import __main__ as crossval
from darkroom.crossval import out_of_sample
from darkroom.label import examples
from darkroom.label.examples import Packed
from tests import texts
from tests.repository import change


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts.make(tmp_path)
    change(tmp_path, model={"text_cnn": texts.ARGUMENTS}, train={"epochs": 1, "min_steps": 0, "device": "cpu"})
    monkeypatch.chdir(tmp_path)


def test_a_subset_has_the_same_tokens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(out_of_sample, "_BLOCK", 2)
    whole, indices = arrays.read_split("data/arrays", "train"), np.array([8, 0, 3, 4, 7])
    with out_of_sample.subset(whole, indices) as some:
        assert some.inputs.dtype == whole.inputs.dtype and np.array_equal(some.inputs, whole.inputs[indices])
        assert some.inputs.max() > 255  # more kinds of tokens than a byte holds


def test_suspect_labels_come_with_their_texts():
    crossval.main(["--folds", "2", "--output", "found"])
    packed = Packed()
    for name in ("suspects", "val_suspects"):
        table = pd.read_csv(f"found/{name}.csv", dtype=str)
        assert list(table) == ["id", "label", "suggested", "margin", "text"]
        assert table["text"].tolist() == [packed.text(example) for example in table["id"]]
        shown = examples.suspects(packed, [Path(f"found/{name}.csv")])
        assert [one.id for one in shown.examples] == table["id"].tolist()
    assert not list(Path("found").glob("*.png"))
