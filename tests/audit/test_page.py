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

from darkroom.audit import page
from darkroom.datasets import index
from tests.browser import CHROMIUM, DRIVER, browser
from tests.repository import change, copy_project

NAME = '<i>né, \n"odd".png'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of two classes, preprocessed, and what evaluate would say of a test picture's label."""
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
    path.with_name("broken.png").write_text("no picture")
    for stage in ("fetch", "preprocess"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True, capture_output=True)
    test_ids = np.load(folder / "data/arrays/test.ids.npy")
    right, wrong = ("a", "b") if test_ids[0].startswith("a/") else ("b", "a")
    table = pd.DataFrame(
        {"id": test_ids[0], "label": [right, wrong], "suggested": [wrong, right], "margin": [0.75, 0.25]}
    )  # the second of other data
    (folder / "metrics/evaluate").mkdir()
    table.to_csv(folder / "metrics/evaluate/suspect_labels.csv", index=False)
    return folder


@pytest.fixture
def text(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["audit"])
    page.main()
    assert capsys.readouterr().out.startswith("data/page.html: open it")
    return Path("data/page.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Refuses tags that are not closed in their order; keeps those without an end tag, and the attributes."""

    VOID = ("img", "meta", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.pictures = [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.pictures += [dict(attributes)] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(text: str):
    tags = Tags(text)
    assert tags.open == []
    assert tags.links and all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert all(picture["alt"] for picture in tags.pictures)
    assert "<script" not in text and "url(" not in text


def test_the_page_tells_what_was_found(text: str):
    for words in (
        "2 classes",
        "unusable: it is no picture",
        "constant: every pixel is 255 0 0",
        "? (by +0.75)",
        "duplicate: ",
    ):
        assert words in text
    assert "&lt;i&gt;né" in text and "<i>" not in text
    assert "(by +0.25)" not in text
    assert re.search(
        r"<td>PNG</td><td class=\"number\">8</td><td class=\"number\">8</td><td class=\"number\">43</td>", text
    )


def test_the_page_shows_pairs_that_are_nearly_the_same(text: str):
    (pair,) = re.findall(r'<div class="pair">(.*?)</div>', text, re.DOTALL)
    assert pair.count("<img") == 2
    assert "&lt;i&gt;né" in pair and "b/01.png" in pair
    assert re.search(r"<p>0\.\d\d grey levels</p>", pair)


def test_only_the_pictures_shown_are_decoded(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    decoded, contents_of = set(), index.contents_of
    monkeypatch.setattr(index, "contents_of", lambda folder, path: decoded.add(path) or contents_of(folder, path))
    shown = page._originals({"a/00.png", "b/red.png", "b/broken.png"})
    assert set(shown) == decoded == {"a/00.png", "b/red.png"}
    assert shown["b/red.png"].tolist() == [[[255, 0, 0]] * 8] * 8
    assert page._originals(set()) == {}


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with chromedriver on this machine")
def test_a_browser_shows_it_and_asks_nobody(text: str):
    page = Path("data/page.html").resolve().as_uri()
    with browser() as shown:
        shown.resize(1000, 2500)
        shown.open(page)
        assert shown.script("return [...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert {url for url in shown.requests() if not url.startswith("data:")} == {page}
        assert shown.console() == []
        picture = shown.devtools("Page.captureScreenshot")["data"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"))
    assert pixels.shape == (2500, 1000)
    assert (pixels < 100).mean() > 0.005 and (pixels > 240).mean() > 0.5


def test_stability_is_nought_for_equal_shares_and_grows():
    equal = page.population_stability(np.array([100, 100]), np.array([100, 100]))
    little, much = (
        page.population_stability(np.array([1000, 1000]), np.array(found)) for found in ([1100, 900], [1800, 200])
    )
    assert equal == 0 < little < 0.1 < 0.25 < much
    swapped = page.population_stability(np.array([3, 0]), np.array([0, 3]))  # shares 7/8 and 1/8
    assert swapped == pytest.approx(2 * (7 / 8 - 1 / 8) * np.log(7))


def test_without_data_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["audit"])
    with pytest.raises(SystemExit) as ended:
        page.main()
    assert "run `dvc repro preprocess`" in str(ended.value.code)
