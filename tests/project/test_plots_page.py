"""The page of `dvc plots`, drawn from the templates in .dvc/plots with a few numbers, in a headless browser."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from darkroom.train import curves
from darkroom.train.gradients import LayerGradients
from darkroom.train.trainer import Record
from tests.browser import CHROMIUM, DRIVER, Browser, browser
from tests.repository import ROOT, commit_all, dvc

PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
OF_TRAINING = [plot for plot in PLOTS if any("curves/" in file for file in next(iter(plot.values()))["y"])]
TITLES = [next(iter(plot)) for plot in OF_TRAINING]

# Draw a plot again, as SVG: the shapes of its points, and what its legends and its first axis show.
DRAW = """
const [spec, done] = arguments;
const place = document.body.appendChild(document.createElement("div"));
const read = () => ({
    points: [...place.querySelectorAll(".mark-symbol.role-mark path")].map((path) => path.getAttribute("d")),
    legend: [...place.querySelectorAll(".role-legend-entry .mark-symbol path")]
        .map((path) => path.getAttribute("d") + path.getAttribute("stroke-dasharray")),
    labels: [...place.querySelectorAll(".role-legend-entry text")].map((text) => text.textContent),
    epochs: [...place.querySelector(".role-axis-label").querySelectorAll("text")].map((text) => text.textContent),
});
vegaEmbed(place, spec, { renderer: "svg" }).then(read).then(done, (error) => done(String(error)));
"""


def write_results(folder: Path, epochs: int, loss: float) -> None:
    """Learning curves and two galleries."""
    layers = {"stem": LayerGradients(loss, 0.01), "head": LayerGradients(2 * loss, 0.02)}
    records = [
        Record(epoch, 0.1, loss / epoch, 0.5, 2 * loss / epoch, 0.4, 1.5 * loss / epoch, 0.45, 3.0, layers)
        for epoch in range(1, epochs + 1)
    ]
    curves.write(folder / "metrics/curves", records)
    for name in ("mistakes", "contact_sheet"):
        path = folder / f"metrics/evaluate/{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((50, 900, 3), int(100 * loss), np.uint8)).save(path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The page of two revisions, by their number of epochs."""
    found = {}
    for epochs in (1, 100):
        folder = tmp_path_factory.mktemp("plots")
        (folder / ".dvc").mkdir()
        for name in ("config", "plots_page.html"):
            shutil.copy(ROOT / ".dvc" / name, folder / ".dvc")
        shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
        galleries = ["metrics/evaluate/mistakes.png", "metrics/evaluate/contact_sheet.png"]
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": [*OF_TRAINING, *galleries]}), encoding="utf-8")
        write_results(folder, epochs, 1.0)
        commit_all(folder)
        write_results(folder, epochs, 2.0)
        dvc(folder, "plots", "diff", "main")
        found[epochs] = folder / "dvc_plots/index.html"
    return found


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver on this machine")
    with browser() as window:
        yield window


def drawn(window: Browser, page: Path, title: str) -> dict[str, list[str]]:
    specs = map(json.loads, re.findall(r"var spec = (.*);\n", page.read_text(encoding="utf-8")))
    window.open(page.as_uri())
    found = window.script_async(DRAW, next(spec for spec in specs if spec["title"] == title))
    assert isinstance(found, dict), found
    return found


@pytest.mark.parametrize("title", TITLES)
def test_a_run_of_one_epoch_is_visible_and_each_line_is_told_apart(pages: dict[int, Path], opened: Browser, title: str):
    found = drawn(opened, pages[1], title)
    lines = 2 if title in ("Learning rate", "Loss of the augmented batches") else 4
    assert len(found["points"]) == lines
    assert {"main", "workspace"} <= set(found["labels"])
    assert found["epochs"] == ["1"]
    if lines == 4:
        assert len(set(found["points"])) == 2  # by revision or by split; the other is the colour
        assert len(set(found["legend"])) >= 2


@pytest.mark.parametrize("title", TITLES)
def test_a_run_of_a_hundred_epochs_is_drawn_as_lines_from_epoch_one(
    pages: dict[int, Path], opened: Browser, title: str
):
    found = drawn(opened, pages[100], title)
    assert found["points"] == []
    assert "0" not in found["epochs"] and "100" in found["epochs"]


@pytest.mark.parametrize("width", [400, 1280, 2000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_galleries_of_two_revisions_are_inside_the_window(
    pages: dict[int, Path], opened: Browser, width: int, scheme: str
):
    opened.resize(width, 800)
    opened.media(prefers_color_scheme=scheme)
    opened.open(pages[1].as_uri())
    edges = opened.script(
        "return [...document.images].filter((image) => image.offsetParent)"
        ".map((image) => [image.getBoundingClientRect().left, image.getBoundingClientRect().right])"
    )
    assert len(edges) == 2  # the contact sheet is not shown
    assert all(0 <= left < right <= width for left, right in edges)


def test_plots_name_columns_that_the_training_writes(tmp_path: Path):
    write_results(tmp_path, 1, 1.0)
    for plot in OF_TRAINING:
        (settings,) = plot.values()
        for file, columns in settings["y"].items():
            written = set(pd.read_csv(tmp_path / file).columns)
            assert {settings["x"], *([columns] if isinstance(columns, str) else columns)} <= written


def test_templates_are_those_of_dvc_or_of_the_project():
    own = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".dvc/plots").glob("*.json")}
    used = {next(iter(plot.values()))["template"] for plot in PLOTS}
    assert used - {"simple", "confusion", "confusion_normalized", "bar_horizontal"} == set(own)
    for text in own.values():
        assert set(re.findall(r"<DVC_METRIC_(\w+)>", text)) >= {"DATA", "TITLE", "X", "Y"}
