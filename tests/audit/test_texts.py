"""The audit of texts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.audit import __main__ as command
from darkroom.audit import data, texts
from darkroom.audit.data import read_texts
from darkroom.core import arrays
from stages import fetch, preprocess
from tests.repository import change, copy_project

WORDS = ("card", "loan", "rate", "fee", "pin", "app", "atm", "cheque", "branch", "limit", "visa", "cash")
HOSTILE = "<img src=x onerror=alert(1)> & more"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two classes with duplicates and near copies, preprocessed, with some labels hidden."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    change(folder, data={"dataset": "mine"}, preprocess={"labels_per_class": 5, "max_bad_fraction": 0.1})
    random, rows = np.random.default_rng(0), []
    for number in range(80):
        rows.append((" ".join(random.permutation(WORDS)[:7].tolist()) + f" {number}", "ab"[number % 2]))
    rows += [rows[3], (HOSTILE, "a"), ("", "b"), (rows[5][0].upper(), "a"), ("x" * 900, "a")]
    (folder / "data/datasets/mine").mkdir(parents=True)
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "data/datasets/mine/mine.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fetch.main()
        preprocess.main()
    return folder


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(project)
    return


def test_texts_of_hidden_and_removed_examples_are_found():
    hidden = arrays.read_unlabelled("data/arrays").ids.tolist()
    found = read_texts([*hidden, "mine/00083", "unknown"])
    assert found["mine/00083"] == "" and "unknown" not in found
    assert [found[one] for one in hidden] == arrays.read_texts("data/arrays", "unlabelled")


def test_the_page_shows_lengths_scripts_findings_and_samples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(sys, "argv", ["audit", "--output", "data/page.html"])
    command.main()
    assert "data/page.html" in capsys.readouterr().out
    html = Path("data/page.html").read_text(encoding="utf-8")
    for heading in ("Classes", "Lengths", "Scripts", "Languages", "Problems found", "Near duplicates", "Samples"):
        assert f"<h2>{heading}</h2>" in html
    assert "uncertain" in html and "Not identified" not in html
    assert "LATIN" in html and "<img" not in html and "<script" not in html


def test_the_page_is_complete_without_languages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "_LANGUAGES", "missing.csv")
    html = texts.render(data.read())
    assert "Not identified" in html and "<h2>Samples</h2>" in html


def test_suspect_labels_come_with_their_texts(monkeypatch: pytest.MonkeyPatch):
    test = arrays.read_split("data/arrays", "test")
    name = arrays.read_manifest("data/arrays").classes[test.labels[0]]
    Path("metrics/labels").mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"id": test.ids[:1], "label": [name], "suggested": ["b"], "margin": [0.5]})
    table.to_csv("metrics/labels/suspects.csv", index=False)
    html = texts.render(data.read())
    assert html.split("Suspect labels: training set")[1].count(arrays.read_texts("data/arrays", "test")[0]) >= 1
