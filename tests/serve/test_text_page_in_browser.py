"""Tests of the page for texts in a headless Chromium; skipped if Chromium or chromedriver is not installed."""

from collections.abc import Iterator

import pytest

from tests import text_bundles
from tests.browser import ENTER, TAB, Browser
from tests.serve.pages import (
    EXPLAINED,
    FAILED,
    PREDICTED,
    SPOKEN,
    Running,
    colours,
    contrast,
    luminance,
    open_page,
    running,
)

HOSTILE = "<img src=x onerror=alert(1)><b>card</b>"
ASK = "document.querySelector('#text').value = arguments[0]; document.querySelector('#ask').requestSubmit()"
QUESTIONS = {f"lost my card {HOSTILE}": f"Answer {HOSTILE}"}
TOKENS = """
return [...document.querySelectorAll("#tokens span")].map((one) => [one.textContent, one.classList[0] ?? ""]);
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page") / "bundle"
    text_bundles.write(folder, classes=("card", "pin", HOSTILE), questions=QUESTIONS)
    with running(folder, max_bytes=100_000) as found:
        yield found


@pytest.fixture
def opened(chromium: Browser, served: Running) -> Iterator[Browser]:
    """The page, which must leave the console empty and send requests only to the service."""
    chromium.console(), chromium.requests()
    open_page(chromium, served.url)
    yield chromium
    assert chromium.console() == []
    assert all(address.startswith((served.url, "data:", "blob:")) for address in chromium.requests())


def shown(opened: Browser, selector: str) -> bool:
    return opened.script("return document.querySelector(arguments[0]).offsetParent !== null", selector)


def test_a_text_is_classified_answered_and_explained(opened: Browser):
    opened.type("#text", "Lost my card card not pin")
    opened.press(ENTER)
    opened.until(EXPLAINED)
    assert opened.text("#verdict") == "card" and opened.script(SPOKEN)
    assert opened.text("#answer") == text_bundles.ANSWERS["card"]
    assert opened.text("#count") == "6" and not shown(opened, "#handover")
    assert opened.script(TOKENS) == [
        ["Lost", "supports"],
        ["my", ""],
        ["card", "supports"],
        ["card", "supports"],
        ["not", "opposes"],
        ["pin", "opposes"],
    ]
    assert opened.text("#tokens") == "Lost my card card not pin"
    assert "\u2068card\u2069" in opened.text("#important")
    assert opened.text("#facts") == "90.00\u00a0% accuracy on 8 test texts"


def test_nothing_is_read_as_markup(opened: Browser):
    opened.script(ASK, f"card {HOSTILE} money money money money")
    opened.until(EXPLAINED)
    assert opened.text("#verdict") == HOSTILE and HOSTILE in opened.text("#tokens")
    assert HOSTILE in opened.text("#question") and HOSTILE in opened.text("#faq") and HOSTILE in opened.text("#known")
    assert opened.script("return document.querySelectorAll('main img, main b:not(#target), main script').length") == 0


@pytest.mark.parametrize("text", ["\u0628\u0637\u0627\u0642\u0629 lost \U0001f468\u200d\U0001f469", "\u202e card"])
def test_text_from_right_to_left_and_emoji(opened: Browser, text: str):
    opened.script(ASK, text)
    opened.until(EXPLAINED)
    assert opened.script("return document.querySelector('#tokens').textContent") == text
    assert opened.text("#verdict") == "card"
    direction = opened.script("return getComputedStyle(document.querySelector('#tokens')).direction")
    assert (direction == "rtl") == (text[0] == "\u0628")


def test_an_uncertain_prediction_is_handed_over(opened: Browser):
    opened.script(ASK, "card pin")
    opened.until(PREDICTED)
    assert shown(opened, "#handover") and not shown(opened, "#reply")
    assert opened.text("#verdict") != "card" and "card" in opened.text("#why")


def test_a_long_text_is_cut(opened: Browser):
    opened.script(ASK, "my " * 8 + "pin")
    opened.until(EXPLAINED)
    assert opened.text("#count") == "8, then cut"
    assert opened.text("#tokens").endswith("pin") and len(opened.script(TOKENS)) == 8


@pytest.mark.parametrize(("text", "error"), [("  ", "empty"), ("a" * 20_001, "20,001"), ("a" * 90_000, "too long")])
def test_an_error_is_shown(chromium: Browser, served: Running, text: str, error: str):
    open_page(chromium, served.url)
    chromium.script(ASK, "card")
    chromium.until(PREDICTED)
    chromium.script(ASK, text)
    assert error in chromium.until(FAILED)
    assert chromium.script(SPOKEN) == "" and not shown(chromium, "#result")


def test_the_keyboard_suffices(opened: Browser):
    def focused() -> str:
        return opened.script("return document.activeElement.id || document.activeElement.textContent")

    opened.press(TAB)
    assert focused() == "text"
    opened.script(ASK, "card")
    opened.until(EXPLAINED)
    opened.press(TAB)
    assert focused() == "Classify"
    opened.press(TAB, ENTER)
    assert focused() == "text" and opened.text("#empty")
    assert opened.script("return document.querySelector('#text').value") == ""


def test_the_api_key_is_requested(chromium: Browser, served: Running):
    with running(served.service.settings.bundle, api_key="sesame") as guarded:
        open_page(chromium, guarded.url)
        chromium.type("#key", "sesame")
        chromium.press(ENTER)
        chromium.until("document.querySelector('#about dt') && document.querySelector('#access').hidden")
        chromium.script(ASK, "card")
        chromium.until(EXPLAINED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Browser, scheme: str):
    opened.media(prefers_color_scheme=scheme)
    opened.script(ASK, "Lost my card not pin")
    opened.until(EXPLAINED)
    found = colours(opened, "h1, h2, .soft, #answer, #faq, th, td, dt, dd, caption, .legend, a, .brand, #tokens")
    assert min(contrast(*pair) for _, *pair in found) >= 4.5
    assert (luminance(found[0][2]) < 0.1) == (scheme == "dark")
    code = """
        const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const ground = getComputedStyle(document.body).backgroundColor;
        return [...document.querySelectorAll("#tokens span")].map((one) => {
          for (canvas.fillStyle of [ground, getComputedStyle(one).backgroundColor]) canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        });
    """
    ink = colours(opened, "#tokens")[0][1]
    assert min(contrast(ink, ground) for ground in opened.script(code)) >= 4.5


def test_it_fits_a_narrow_window(opened: Browser):
    opened.script(ASK, "card " + "x" * 500)
    opened.until(EXPLAINED)
    for width in (320, 768, 1920):
        opened.resize(width, 800)
        assert opened.script("return document.documentElement.scrollWidth") <= width
