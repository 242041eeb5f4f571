import base64
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.audit import __main__ as command
from darkroom.audit import data, freshness, tables
from darkroom.bundle import stability
from darkroom.core import arrays
from darkroom.datasets import index
from tests.browser import CHROMIUM, DRIVER, browser
from tests.repository import change, copy_project

NAME = '<i>né, \n"odd".png'  # must be escaped


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of two classes, preprocessed, and a suspect label of a test image."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    change(folder, data={"dataset": "mine"})
    change(folder, preprocess={"max_bad_fraction": 0.5})
    random = np.random.default_rng(0)
    for number in range(40):
        path = folder / f"data/datasets/mine/{'ab'[number % 2]}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(path)
    shutil.copy(path, path.with_name(NAME))
    darker = Image.fromarray((np.asarray(Image.open(path.parent / "01.png")) * 0.95).astype(np.uint8))
    darker.save(path.parent.parent / "a" / NAME)
    Image.new("RGB", (8, 8), "red").save(path.with_name("red.png"))
    path.with_name("broken.png").write_text("not an image")
    for stage in ("fetch", "preprocess"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True, capture_output=True)
    test_ids = arrays.read_split(folder / "data/arrays", "test").ids
    current, other = ("a", "b") if test_ids[0].startswith("a/") else ("b", "a")
    table = pd.DataFrame(  # the second row is of other data: its label is not the current one
        {"id": test_ids[0], "label": [current, other], "suggested": [other, current], "margin": [0.75, 0.25]}
    )
    (folder / "metrics/evaluate").mkdir()
    table.to_csv(folder / "metrics/evaluate/suspect_labels.csv", index=False)
    return folder


@pytest.fixture
def html(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["audit", "--output", "data/page.html"])
    command.main()
    assert "data/page.html" in capsys.readouterr().out
    return Path("data/page.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Checks that tags are closed in order; collects links and images."""

    VOID = ("img", "meta", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.images += [dict(attributes)] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def section(html: str, title: str) -> str:
    (found,) = re.findall(rf"<section>\s*<h2>{re.escape(title)}[^<]*</h2>(.*?)</section>", html, re.DOTALL)
    return found


def test_the_page_is_well_formed_and_needs_no_network(html: str):
    tags = Tags(html)
    assert tags.open == []
    assert tags.links and all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert all(image["alt"] for image in tags.images)
    assert "<script" not in html and "url(" not in html


def test_the_page_shows_the_problems(html: str):
    problems = section(html, "Problems found")
    rows = re.findall(r'<td>(\w+)</td><td>\w+</td><td>removed</td><td class="number">\d+</td>', problems)
    assert {"unusable", "constant"} <= set(rows)
    assert "constant: every pixel is 255 0 0; removed" in problems
    assert "duplicate: same pixels as b/" in problems
    assert "unusable: " in problems and problems.count("<em>") == 1  # broken.png cannot be shown


def test_names_are_escaped(html: str):
    assert "&lt;i&gt;né" in html and "<i>" not in html


def test_only_current_suspect_labels_are_shown(html: str):
    suspects = section(html, "Suspect labels")
    assert "margin +0.75" in suspects and "+0.25" not in suspects
    assert suspects.count("<img") == 1


def test_the_sizes_of_the_originals_are_counted(html: str):
    row = ["<td>PNG</td>", *(f'<td class="number">{number}</td>' for number in (8, 8, 43))]
    assert "".join(row) in section(html, "Sizes")


def test_near_duplicates_are_shown_in_pairs(html: str):
    (pair,) = re.findall(r'<div class="pair">(.*?)</div>', html, re.DOTALL)
    assert pair.count("<img") == 2
    assert "&lt;i&gt;né" in pair and "b/01.png" in pair
    assert re.search(r"<p>\d+\.\d % of the contrast(, mirrored)?</p>", pair)


def test_the_page_says_if_the_arrays_are_out_of_date(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(project)
    monkeypatch.setattr(freshness, "notice", lambda: "data/arrays is <old>.")
    monkeypatch.setattr(sys, "argv", ["audit", "--output", "data/old.html"])
    command.main()
    assert '<p class="notice">data/arrays is &lt;old&gt;.</p>' in Path("data/old.html").read_text(encoding="utf-8")
    assert "data/arrays is <old>." in capsys.readouterr().err


def test_ids_and_classes_may_look_like_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A manifest of files without extension: 1, 2, ... and 007, in the classes 0, 1 and nan."""
    folder = copy_project(tmp_path)
    change(folder, data={"dataset": "mine"}, preprocess={"max_bad_fraction": 0.5})
    mine, random = folder / "data/datasets/mine", np.random.default_rng(0)
    mine.mkdir(parents=True)
    labels = {str(number): ("0", "1", "nan")[number % 3] for number in range(1, 61)} | {"007": "0", "1e3": "1"}
    for name in labels:
        Image.fromarray(random.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(mine / name, "PNG")
    Image.new("RGB", (8, 8), "red").save(mine / "1", "PNG")  # each of the tables has a row
    darker = (np.asarray(Image.open(mine / "2")) * 0.95).astype(np.uint8)
    Image.fromarray(darker).save(mine / "5", "PNG")
    rows = [f"{name},{label}\n" for name, label in labels.items()]
    (mine / "manifest.csv").write_text("".join(["path,label\n", *rows]))
    for stage in ("fetch", "preprocess"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True, capture_output=True)
    for path, split in (("metrics/evaluate/suspect_labels.csv", "test"), ("metrics/labels/suspects.csv", "train")):
        ids = arrays.read_split(folder / "data/arrays", split).ids.tolist()
        table = pd.DataFrame([(name, labels[name], "0", 0.5) for name in ids])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / path, index=False, header=["id", "label", "suggested", "margin"])
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["audit"])
    command.main()
    html = Path("data/audit.html").read_text(encoding="utf-8")
    problems, near = section(html, "Problems found"), section(html, "Near duplicates")
    assert problems.count("<img") >= 1 and "constant" in problems and near.count("<img") == 2
    assert len(re.findall("<figure>", section(html, "Suspect labels: training set"))) == len(ids)
    assert "<em>" not in html


def test_hidden_examples_are_shown(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = shutil.copytree(project, tmp_path / "project")
    change(folder, preprocess={"labels_per_class": 3, "max_bad_fraction": 0.5})
    subprocess.run([sys.executable, "-m", "stages.preprocess"], cwd=folder, check=True, capture_output=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["audit"])
    command.main()
    html = Path("data/audit.html").read_text(encoding="utf-8")
    unlabelled = arrays.read_unlabelled("data/arrays")
    assert f"{len(unlabelled)} unlabelled" in html and "hidden/" in section(html, "Problems found")
    assert section(html, "Problems found").count("<img") >= 1 and "AUC" not in section(html, "Drift")
    assert len(re.findall("unlabelled against train", section(html, "Drift"))) == 1


def test_drift_has_the_limits_of_the_service(html: str):
    found = section(html, "Drift")
    assert f"below {stability.WARNING}" in found and f"above {stability.ALARM}" in found
    assert found.count("too few images") == 4  # validation and test; classes, brightness
    assert len(re.findall(r'<td class="number">\d\.\d{3}</td>', found)) == 4  # p-values


def test_drift_is_large_and_significant_only_where_a_split_differs():
    random = np.random.default_rng(0)
    counts = pd.DataFrame({"train": [4000, 4000], "val": [500, 500], "test": [300, 700]})
    brightness = {
        "train": random.normal(100, 20, 8000), "val": random.normal(100, 20, 1000), "test": random.normal(102, 20, 1000)
    }  # fmt: skip
    rows = {(row["split"], row["feature"]): row for row in tables.drift(counts, "brightness", brightness)}
    assert list(rows) == [("val", "classes"), ("val", "brightness"), ("test", "classes"), ("test", "brightness")]
    assert rows["val", "classes"]["index"] == 0 and rows["val", "classes"]["p"] == 1
    assert rows["val", "brightness"]["index"] < 0.05 and rows["val", "brightness"]["p"] > 0.05
    assert rows["test", "classes"]["index"] > 0.1 and rows["test", "classes"]["p"] < 1e-9
    few = tables.drift(counts // 100, "brightness", {name: values[:200] for name, values in brightness.items()})
    assert [row["index"] for row in few][::2] == [None, None] and all(row["p"] == 1 for row in few[::2])


def test_only_the_wanted_images_are_decoded(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    decoded, contents_of = set(), index.contents_of
    monkeypatch.setattr(index, "contents_of", lambda folder, path: decoded.add(path) or contents_of(folder, path))
    images = data.read_originals({"a/00.png", "b/red.png", "b/broken.png"})
    assert set(images) == decoded == {"a/00.png", "b/red.png"}
    assert images["b/red.png"].tolist() == [[[255, 0, 0]] * 8] * 8
    assert data.read_originals(set()) == {}


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with chromedriver on this machine")
def test_a_browser_shows_the_page_without_requests(html: str):
    url = Path("data/page.html").resolve().as_uri()
    with browser() as shown:
        shown.resize(1000, 2500)
        shown.open(url)
        assert shown.script("return [...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert {request for request in shown.requests() if not request.startswith("data:")} == {url}
        assert shown.console() == []
        screenshot = shown.devtools("Page.captureScreenshot")["data"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(screenshot))).convert("L"))
    assert pixels.shape == (2500, 1000)
    assert (pixels < 100).mean() > 0.005 and (pixels > 240).mean() > 0.5


def test_without_data_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["audit"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert "dvc repro preprocess" in str(ended.value.code)
