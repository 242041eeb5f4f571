"""Tests of the label page in a headless Chromium; skipped if Chromium or chromedriver is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.browser import CHROMIUM, DRIVER, ENTER, TAB, Browser, browser
from tests.label import projects

BACKSPACE, SPACE, ESCAPE = "\ue003", " ", "\ue00c"
IDLE = "document.querySelector('#stage').getAttribute('aria-busy') === 'false'"
ALERT = "!document.querySelector('#alert').hidden && document.querySelector('#problem').innerText"
FINISHED = "!document.querySelector('#finished').hidden"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver on this machine")
    with browser() as opened:
        yield opened


@contextmanager
def page(chromium: Browser, folder: Path, *arguments: str, by: str = "anna") -> Iterator[str]:
    """The label page of the project in `folder`, open in the browser; yields its URL."""
    with projects.running(folder, *arguments, by=by) as (url, _):
        chromium.console()
        chromium.resize(1200, 800)
        chromium.media()
        chromium.open(url)
        chromium.until(f"!document.querySelector('#image').hidden && {IDLE}")
        yield url


def press(chromium: Browser, *keys: str) -> None:
    """Press keys one after the other, each when the page is ready for it."""
    for key in keys:
        chromium.press(key)
        chromium.until(IDLE)


def rows(folder: Path) -> list[tuple[str, str]]:
    path = projects.labels(folder)
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return [(line.split(",")[0], line.split(",")[1]) for line in lines]


def named(chromium: Browser) -> set[tuple[str, str]]:
    """Role and name of each element, as a screen reader gets them."""
    nodes = chromium.devtools("Accessibility.getFullAXTree")["nodes"]
    return {(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node}


def test_by_keyboard_alone(chromium: Browser, tmp_path: Path):
    names = projects.ids(5)
    with page(chromium, projects.make(tmp_path)):
        press(chromium, "1", "3", BACKSPACE, SPACE, "0", "2")
        assert rows(tmp_path) == [(names[0], "cat"), (names[2], ""), (names[3], "dog")]
        assert "3 of 5" in chromium.text("#done") and "1 skipped" in chromium.text("#source")
        assert names[3] in chromium.text("#last") and "dog" in chromium.text("#last")
        chromium.press("/", *"ow", ENTER)
        chromium.until(f"{IDLE} && document.querySelector('#bar').value === 4")
        assert chromium.script("return document.activeElement.id") == "stage"
        press(chromium, "1")
        chromium.until(FINISHED)
        assert rows(tmp_path)[3:] == [(names[4], "owl"), (names[1], "cat")]
        chromium.press(BACKSPACE)
        chromium.until(f"{IDLE} && document.querySelector('#finished').hidden")
        assert len(rows(tmp_path)) == 4 and "skipped" not in chromium.text("#source")
    assert chromium.console() == []


def test_by_buttons_that_tab_reaches(chromium: Browser, tmp_path: Path):
    with page(chromium, projects.make(tmp_path)):
        reached = []
        for _ in range(8):
            chromium.press(TAB)
            reached.append(chromium.script("return document.activeElement.innerText || document.activeElement.id"))
        assert [text.split("\n")[-1] for text in reached] == [
            "Skip",
            "Guess",
            "name",
            "cat",
            "dog",
            "owl",
            "Unclear",
            "keys",
        ]
        chromium.script("document.querySelectorAll('#classes button')[1].focus()")
        press(chromium, ENTER)
        assert rows(tmp_path) == [(projects.ids(1)[0], "dog")]
        chromium.script("document.querySelector('#skip').focus()")
        press(chromium, SPACE)
        assert "1 skipped" in chromium.text("#source") and len(rows(tmp_path)) == 1


def test_after_a_click_the_keys_mean_the_same(chromium: Browser, tmp_path: Path):
    with page(chromium, projects.make(tmp_path)):
        chromium.click("#classes button")
        chromium.until(f"{IDLE} && document.querySelector('#bar').value === 1")
        press(chromium, SPACE, "2")
        assert [label for _, label in rows(tmp_path)] == ["cat", "dog"]
        assert "1 skipped" in chromium.text("#source")


def test_the_shortcuts_can_be_switched_off(chromium: Browser, tmp_path: Path):
    with page(chromium, projects.make(tmp_path)):
        chromium.click("#keys")
        chromium.script("document.querySelector('#stage').focus()")
        press(chromium, "1", SPACE)
        assert chromium.text("#done").startswith("0 of") and rows(tmp_path) == []


def test_a_screen_reader_gets_names_and_news_but_no_hint_of_the_label(chromium: Browser, tmp_path: Path):
    path = tmp_path / "metrics" / "evaluate" / "suspect_labels.csv"
    path.parent.mkdir(parents=True)
    path.write_text("id,label,suggested,margin\ndog/test1.png,dog,cat,0.7\ncat/test0.png,cat,dog,0.6\n")
    with page(chromium, projects.make(tmp_path), "--suspects"):
        names = named(chromium)
        for expected in (
            ("image", "Example 1 of 2"),
            ("region", "Example 1 of 2"),
            ("region", "Which class is it?"),
            ("group", "Actions"),
            ("textbox", "Type the name of a class"),
            ("progressbar", "Examples done"),
            ("button", "cat"),
            ("button", "Unclear"),
            ("button", "Undo"),
            ("checkbox", "Keyboard shortcuts"),
        ):
            assert expected in names
        assert not [name for role, name in names if role in ("button", "image") and not name]
        markup = chromium.script("return document.documentElement.outerHTML")
        assert "test1" not in markup and "test0" not in markup
        press(chromium, "1")
        assert chromium.text("#last").startswith("Last: cat; it was labelled dog")
        spoken = chromium.script("return document.querySelector('#spoken').textContent")
        assert spoken == "cat; it was labelled dog. Example 2 of 2."
        press(chromium, "1")
        chromium.until(FINISHED)
        assert chromium.script("return document.activeElement.id") == "finished"


def test_the_guess_appears_only_on_request(chromium: Browser, tmp_path: Path):
    queue = tmp_path / ".darkroom" / "queue" / "queue.csv"
    queue.parent.mkdir(parents=True)
    queue.write_text(f"rank,id,score,predicted,reason\n1,{projects.ids(1)[0]},0.9,owl,cat or owl\n")
    with page(chromium, projects.make(tmp_path)):
        assert "cat or owl" not in chromium.script("return document.documentElement.outerHTML")
        chromium.press("?")
        chromium.until("document.querySelector('#guessed').innerText.includes('cat or owl')")
        assert chromium.text("#guessed").startswith("owl")
        press(chromium, "3")
        assert rows(tmp_path) == [(projects.ids(1)[0], "owl")]


def test_many_classes_are_found_by_typing(chromium: Browser, tmp_path: Path):
    classes = [f"{number} {word}" for number in range(30) for word in ("cat", "Ärger", "<b>")]
    with page(chromium, projects.make(tmp_path, classes=classes)):
        press(chromium, "z")
        chromium.press("/", *"29 arg")
        visible = "return [...document.querySelectorAll('#classes li:not([hidden]) span')].map((one) => one.innerText)"
        assert chromium.script(visible) == ["29 Ärger"]
        chromium.press(ENTER)
        chromium.until(f"{IDLE} && document.querySelector('#bar').value === 2")
        assert [label for _, label in rows(tmp_path)] == [classes[34], "29 Ärger"]
        assert len(chromium.script(visible)) == 90
        chromium.press("/", "x", ESCAPE)
        assert len(chromium.script(visible)) == 90


def test_a_new_class_is_refused_with_the_reason(chromium: Browser, tmp_path: Path):
    with page(chromium, projects.make(tmp_path)):
        chromium.press("/", *"horse", ENTER)
        assert "“horse” is not a class" in chromium.until(ALERT)
        assert "alert" in {role for role, _ in named(chromium)}
        press(chromium, ESCAPE, "2")
        chromium.until("document.querySelector('#alert').hidden")
        assert rows(tmp_path) == [(projects.ids(1)[0], "dog")]


def test_a_second_window_goes_on_with_the_present_example(chromium: Browser, tmp_path: Path):
    with page(chromium, projects.make(tmp_path)) as url:
        with httpx.Client(base_url=url, timeout=60) as other:
            projects.answer(other, other.get("/v1/session").json(), "owl")
        press(chromium, "1")
        assert "Another window" in chromium.until(ALERT)
        assert rows(tmp_path) == [(projects.ids(1)[0], "owl")] and "Example 2" in chromium.text("#which")
        press(chromium, "1")
        assert rows(tmp_path) == [(projects.ids(5)[0], "owl"), (projects.ids(5)[1], "cat")]


def test_a_file_that_cannot_be_written_and_a_program_that_stopped(chromium: Browser, tmp_path: Path):
    projects.make(tmp_path)
    with page(chromium, tmp_path):
        projects.labels(tmp_path).mkdir()
        press(chromium, "1")
        assert "not saved" in chromium.until(ALERT)
        projects.labels(tmp_path).rmdir()
        press(chromium, "2")
        chromium.until("document.querySelector('#alert').hidden")
        assert rows(tmp_path) == [(projects.ids(1)[0], "dog")]
    press(chromium, "1")
    assert "darkroom.label" in chromium.until(ALERT)
    assert rows(tmp_path) == [(projects.ids(1)[0], "dog")]


def test_an_image_that_does_not_arrive_cannot_be_answered(chromium: Browser, tmp_path: Path):
    projects.make(tmp_path)
    with page(chromium, tmp_path):
        chromium.devtools("Network.enable")
        chromium.devtools("Network.setBlockedURLs", urls=["*v1/input*"])
        press(chromium, "1", "1", "1")  # the second image was fetched before
        assert chromium.until(ALERT) and len(rows(tmp_path)) == 2
        assert chromium.script("return document.querySelector('#image').hidden")
        chromium.devtools("Network.setBlockedURLs", urls=[])
        chromium.click("#again")
        chromium.until(f"{IDLE} && !document.querySelector('#image').hidden")
        press(chromium, "1")
        assert len(rows(tmp_path)) == 3


def test_it_fits_any_width_and_has_contrast(chromium: Browser, tmp_path: Path):
    projects.make(tmp_path, classes=["a class with a very long name " * 3, "averylongnamewithoutanyblanks" * 3, "owl"])
    Image.new("L", (20, 3000)).save(tmp_path / "data/datasets/photos" / projects.ids(1)[0])
    with page(chromium, tmp_path):
        press(chromium, SPACE, "?")
        for width in (320, 390, 768, 1920):
            chromium.resize(width, 800)
            assert chromium.script("return document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            chromium.media(prefers_color_scheme=scheme)
            for selector in (".soft", "button", "kbd", "#last", "h2", "dt"):
                assert _contrast(chromium, selector) >= 4.5, (scheme, selector)


def _contrast(chromium: Browser, selector: str) -> float:
    """The contrast ratio of WCAG 2 of an element's text on its background."""
    code = """
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = (part) => part.slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
        const element = document.querySelector(arguments[0]);
        let under = element;
        while (under && rgb(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
        const ground = getComputedStyle(under ?? document.body).backgroundColor;
        const pair = [light(rgb(getComputedStyle(element).color)), light(rgb(ground))].sort((a, b) => a - b);
        return (pair[1] + 0.05) / (pair[0] + 0.05);
    """
    return chromium.script(code, selector)
