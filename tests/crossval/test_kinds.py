"""Cross-validation of rows of a table, and of histories, which is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core import params
from darkroom.crossval import __main__ as crossval
from stages import preprocess
from tests import histories
from tests.repository import ROOT
from tests.tables import in_project


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_suspect_rows_have_no_images(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    params.PATH.write_text(text.replace("dataset: fashion_mnist", "dataset: toy"))
    random = np.random.default_rng(0)
    in_project([{"income": f"{random.normal():.3f}", "y": ["yes", "no"][number % 2]} for number in range(60)])
    preprocess.main()

    def answers(train, val, manifest, seed, model, settings, fold, unlabelled) -> Iterator[tuple[np.ndarray, ...]]:
        for number in range(fold.max() + 1):
            indices = np.flatnonzero(fold == number)
            yield indices, random.normal(size=(len(indices), 2)), random.normal(size=(len(val), 2))

    monkeypatch.setattr(crossval, "out_of_sample", answers)
    monkeypatch.setattr(crossval.freshness, "notice", lambda: "")
    crossval.main(["--folds", "2", "--output", "found"])
    assert sorted(path.name for path in Path("found").iterdir()) == ["suspects.csv", "val_suspects.csv"]
    assert len(pd.read_csv("found/suspects.csv")) and "images" not in capsys.readouterr().out


def test_histories_are_refused_before_a_training():
    histories.make(Path())
    with pytest.raises(SystemExit, match=r"^crossval: Films has histories, .* the next event is the label\.$"):
        crossval.main([])
