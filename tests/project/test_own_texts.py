"""A user's texts, in several scripts and hostile, from files in class folders to the pages."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.audit import texts as audit
from darkroom.audit.data import read
from darkroom.bundle import classifier
from darkroom.bundle.texts import TextClassifier
from darkroom.core import arrays
from darkroom.datasets.descriptions import load
from stages import evaluate, explain, export, fetch, preprocess, pretrained, train
from tests.repository import change, copy_project

CLASSES = ("<b>挂失", "查询余额")
WORDS = [
    "银行卡",
    "在哪里",
    "丢失",
    "贷款",
    "利率",
    "手续费",
    "密码",
    "支票",
    "限额",
    "💳🏽",
    "כרטיס",
    "بطاقة",
    "<img>",
]
HOSTILE = "<script>alert('&')</script>"


class Tags(HTMLParser):
    """The names of all tags, and the text between them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with .txt files of two classes, all stages but robustness done."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    small = {"embed_dim": 8, "channels": 8, "dropout": 0.0}
    change(folder, data={"dataset": "mine"}, model={"name": "text_cnn", "text_cnn": small})
    change(folder, train={"epochs": 2, "min_steps": 0, "device": "cpu"}, explain={"faithfulness_samples": 5})
    mine, random = folder / "data/datasets/mine", np.random.default_rng(0)
    contents = {}
    for number in range(80):
        chosen = " ".join(random.permutation(WORDS)[:6].tolist())
        contents[f"{number % 2}/{number:02}.txt"] = f"{HOSTILE if number % 2 else ''} {chosen} {number}"
    contents |= {"unlabelled/1.txt": f"没有标签 {HOSTILE}", "oos/1.txt": "今天天气怎么样", "oos/2.txt": "谁赢了比赛"}
    for path, text in contents.items():
        parts = Path(path).parts
        named = mine / (CLASSES[int(parts[0])] if parts[0].isdigit() else parts[0]) / parts[1]
        named.parent.mkdir(parents=True, exist_ok=True)
        named.write_text(text, encoding="utf-8")
    (mine / "labels.csv").write_text("id,label\nunlabelled/1.txt,查询余额\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (fetch, preprocess, pretrained, train, evaluate, explain, export):
            stage.main()
    return folder


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)


def test_files_in_class_folders_are_found_packed_and_relabelled():
    assert load("mine").kind == "text"
    manifest = arrays.read_manifest("data/arrays")
    assert sum(manifest.counts.values()) == 81 and len(manifest.classes) == 2
    assert "unlabelled/1.txt" in arrays.read_split("data/arrays", "train").ids.tolist()  # by labels.csv
    findings = pd.read_csv("metrics/data/findings.csv").set_index("id")
    assert findings.loc["unlabelled/1.txt", "action"] == "labelled"
    assert set(pd.read_csv("metrics/data/scripts.csv")) >= {"split", "CJK"}


def test_out_of_scope_texts_are_measured_and_never_trained_on():
    summary = json.loads(Path("metrics/evaluate.json").read_text())
    assert summary["out_of_scope_samples"] == 2 and 0 <= summary["out_of_scope_auroc"] <= 1
    assert pd.read_csv("metrics/evaluate/out_of_scope.csv")["score"].tolist() == ["confidence", "max_logit", "energy"]
    for name in arrays.SPLITS:
        assert not any(one.startswith("oos/") for one in arrays.read_split("data/arrays", name).ids.tolist())


def test_pages_show_texts_and_never_their_markup():
    attributions = Path("metrics/explain/attributions.html").read_text(encoding="utf-8")
    for html in (attributions, audit.render(read())):
        page = Tags(html)
        assert not {"script", "img", "b"} & page.tags
        assert HOSTILE in page.text and "银行卡" in page.text and "💳🏽" in page.text and "כרטיס" in page.text
        assert 'dir="auto"' in html and 'charset="utf-8"' in html


def test_figures_are_written():
    for name in ("confused_pairs.png", "most_difficult.png"):
        assert Path("metrics/evaluate", name).stat().st_size > 1000


def test_the_bundle_reads_every_script():
    texts, bundle = arrays.read_texts("data/arrays", "test"), classifier.read("models/bundle", threads=1)
    expected = pd.read_csv("metrics/predictions.csv", dtype=str).set_index("id")["predicted"]
    found = TextClassifier(bundle).predict(texts)[1].argmax(1)
    names = arrays.read_split("data/arrays", "test").ids.tolist()
    assert [CLASSES[index] for index in found] == expected[names].tolist()
    card = Path("models/bundle/README.md").read_text(encoding="utf-8")
    assert "查询余额" in card and "<b>" not in card
