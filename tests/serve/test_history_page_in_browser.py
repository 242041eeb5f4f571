"""Tests of the page for histories in a headless Chromium; skipped if Chromium or chromedriver is not installed."""

from collections.abc import Iterator

import pytest

from tests import history_bundles
from tests.browser import ENTER, TAB, Browser
from tests.history_bundles import HOSTILE, LENGTH
from tests.serve.pages import EXPLAINED, FAILED, SPOKEN, Running, colours, contrast, luminance, open_page, running

DOWN, UP, ESCAPE = "\ue015", "\ue013", "\ue00c"
READY = "document.querySelector('#bars tr') && !document.querySelector('.waiting')"
MATCHES = "[...document.querySelectorAll('#matches [role=option]')].map((one) => one.textContent)"
SELECTED = "document.querySelector('#matches:not([hidden]) [aria-selected=true]')"  # none while a search is pending
TITLES = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page") / "bundle"
    history_bundles.write(folder)
    with running(folder) as found:
        yield found


@pytest.fixture
def opened(chromium: Browser, served: Running) -> Iterator[Browser]:
    """The page, which must leave the console empty and send requests only to the service."""
    chromium.console(), chromium.requests()
    open_page(chromium, served.url)
    chromium.until(READY)
    yield chromium
    assert chromium.console() == []
    assert all(address.startswith((served.url, "data:", "blob:")) for address in chromium.requests())


def find(opened: Browser, words: str, *keys: str) -> None:
    """Type words into the search and press the keys when the items of all words are found."""
    opened.type("#search", words)
    opened.until(SELECTED)
    opened.press(*keys)


def history(opened: Browser) -> list[str]:
    return opened.script(TITLES, "#history span")


def recommended(opened: Browser) -> list[str]:
    opened.until(READY)
    return opened.script(TITLES, "#bars th")


def test_the_page_begins_with_the_most_frequent_items(opened: Browser):
    assert recommended(opened) == ["Brazil", "Alien", "x", history_bundles.ITEMS["0"], HOSTILE]
    assert "most frequent" in opened.text("#why") and opened.text("#count") == "0"
    assert not opened.script("return document.querySelector('#explained').offsetParent")
    assert opened.text("#facts").startswith("50.00") and "8 test histories" in opened.text("#facts")
    assert "5" in opened.text("#about")


def test_a_history_is_built_and_its_recommendations_are_explained(opened: Browser):
    find(opened, "ALIEN", ENTER)
    opened.until(EXPLAINED)
    assert history(opened) == ["Alien"] and recommended(opened)[0] == "Brazil"
    opened.click("#bars tr:first-child button")
    opened.until(f"document.querySelectorAll('#history li').length === 2 && {EXPLAINED}")
    assert history(opened) == ["Alien", "Brazil"]
    assert recommended(opened) == [HOSTILE, history_bundles.ITEMS["0"], "x"]
    assert opened.script(TITLES, "#events span") == ["Alien", "Brazil"]
    assert opened.script("return document.querySelectorAll('#events .supports').length") == 2
    assert opened.text("#target") == HOSTILE and opened.text("#count") == "2" and opened.script(SPOKEN)
    opened.click("#repeat")
    opened.until("document.querySelectorAll('#bars tr').length === 5")
    opened.click("#history li:first-child button")
    opened.until(f"document.querySelectorAll('#history li').length === 1 && {EXPLAINED}")
    assert history(opened) == ["Brazil"]


def test_nothing_is_read_as_markup(opened: Browser):
    find(opened, "<img", ENTER)
    opened.until(EXPLAINED)
    assert history(opened) == [HOSTILE] == opened.script(TITLES, "#events span")
    assert opened.script("return document.querySelectorAll('main img, main b:not(#target), main script').length") == 0


def test_a_search_that_is_aborted_while_its_answer_is_read_is_no_error(opened: Browser):
    opened.script(
        """window.answers = 0;
        const json = () => { window.answers += 1; return Promise.reject(new DOMException("aborted", "AbortError")); };
        window.fetch = async () => ({ ok: true, json });"""
    )
    opened.type("#search", "al")
    opened.until("window.answers === 2")  # one for each letter; the fixture looks at the console


def test_a_long_history_is_cut(opened: Browser):
    for _ in range(LENGTH + 1):
        find(opened, "alien", ENTER)
    opened.until(f"document.querySelectorAll('#history li').length === {LENGTH + 1} && {EXPLAINED}")
    assert opened.text("#count") == str(LENGTH) and str(LENGTH) in opened.text("#why")


def test_all_items_in_the_history(opened: Browser):
    for words in ("alien", "brazil", "film", "x", "\u0641"):
        find(opened, words, ENTER)
    opened.until("document.querySelectorAll('#history li').length === 5 && !document.querySelector('#bars tr')")
    assert opened.text("#caption")


def test_the_keyboard_suffices(opened: Browser):
    def focused() -> str:
        return opened.script("const one = document.activeElement; return one.id || one.ariaLabel || one.textContent")

    opened.press(TAB)
    assert focused() == "search"
    find(opened, "a", DOWN, DOWN, UP, ENTER)  # Brazil, Alien, the hostile title: the second
    opened.until(EXPLAINED)
    assert history(opened) == ["Alien"] and focused() == "search"
    find(opened, "a", ESCAPE)
    assert opened.script("return document.querySelector('#matches').hidden")
    opened.press(TAB)
    assert focused() == "Remove Alien"
    opened.press(ENTER)
    opened.until("!document.querySelector('#history li')")
    assert focused() == "search"
    assert recommended(opened)[0] == "Brazil"
    opened.press(TAB, TAB)
    assert focused() == "Brazil"  # the first recommendation; Clear has nothing to clear
    opened.press(ENTER)
    opened.until(EXPLAINED)
    assert history(opened) == ["Brazil"]


def test_the_focus_is_not_lost_when_recommendations_are_replaced(opened: Browser):
    opened.press(TAB, TAB, TAB)
    assert opened.script("return document.activeElement.textContent") == "Brazil"
    opened.script("document.querySelector('#repeat').click()")
    opened.until(READY)
    assert opened.script("return document.activeElement.id") == "search"


def test_the_list_of_items_is_announced(opened: Browser):
    opened.type("#search", "a")
    opened.until(f"{MATCHES}.length === 3")
    states = "const one = document.querySelector('#search'); return [one.ariaExpanded, one.getAttribute(arguments[0])]"
    assert opened.script(states, "aria-activedescendant") == ["true", "match-0"]
    opened.press(DOWN)
    assert opened.script(states, "aria-activedescendant") == ["true", "match-1"]
    opened.type("#search", "nothing")
    opened.until("document.querySelector('#matches').innerText.includes('No item')")
    assert opened.script(states, "aria-activedescendant") == ["true", None]


def test_an_error_is_shown(chromium: Browser, served: Running, tmp_path):
    history_bundles.write(tmp_path / "bundle")
    with running(tmp_path / "bundle") as ending:
        open_page(chromium, ending.url)
        chromium.until(READY)
    chromium.click("#repeat")
    assert "does not respond" in chromium.until(FAILED)
    chromium.console()


def test_the_api_key_is_requested(chromium: Browser, served: Running):
    with running(served.service.settings.bundle, api_key="sesame") as guarded:
        open_page(chromium, guarded.url)
        chromium.type("#key", "sesame")
        chromium.press(ENTER)
        chromium.until(READY)
        find(chromium, "alien", ENTER)
        chromium.until(EXPLAINED)
    chromium.console()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Browser, scheme: str):
    opened.media(prefers_color_scheme=scheme)
    find(opened, "alien", ENTER)
    opened.until(EXPLAINED)
    found = colours(opened, "h1, h2, .soft, th button, #history span, td, dt, dd, caption, .legend, a, .brand")
    assert min(contrast(*pair) for _, *pair in found) >= 4.5
    assert (luminance(found[0][2]) < 0.1) == (scheme == "dark")


def test_it_fits_a_narrow_window(opened: Browser):
    find(opened, "film img", ENTER)
    opened.until(EXPLAINED)
    for width in (320, 768, 1920):
        opened.resize(width, 800)
        assert opened.script("return document.documentElement.scrollWidth") <= width
