"""Tests of the page at / in a headless Chromium; skipped if Chromium or chromedriver is not installed."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import bundles
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

TECHNICAL = r"multipart|image/|content type|body|request|max_|x-api|traceback|\(|_"
GIVE = """
const [kind, bytes, target] = arguments, transfer = new DataTransfer();
transfer.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
const init = { bubbles: true, cancelable: true, [kind === "paste" ? "clipboardData" : "dataTransfer"]: transfer };
document.body.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, init) : new DragEvent(kind, init));
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for grey images of 7 x 7 pixels, in which each window is one pixel."""
    folder = tmp_path_factory.mktemp("page") / "bundle"
    bundles.write(
        folder,
        shape=(7, 7, 1),
        metrics={"accuracy": 0.9385, "accuracy_low": 0.93362, "accuracy_high": 0.94304, "samples": 10000},
    )
    return folder


@pytest.fixture(scope="module")
def served(bundle: Path) -> Iterator[Running]:
    with running(bundle, max_bytes=100_000) as found:
        yield found


@pytest.fixture
def opened(chromium: Browser, served: Running) -> Iterator[Browser]:
    """The page, which must leave the console empty and send requests only to the service."""
    chromium.console(), chromium.requests()
    open_page(chromium, served.url)
    yield chromium
    assert chromium.console() == []
    assert all(address.startswith((served.url, "data:", "blob:")) for address in chromium.requests())


def _png(*pixels: int, size: tuple[int, int] = (7, 7)) -> bytes:
    """An image file of `size` (width, height); missing pixels at the end are 0."""
    image = np.zeros(size[0] * size[1], np.uint8)
    image[: len(pixels)] = pixels
    file = io.BytesIO()
    Image.fromarray(image.reshape(*size[::-1])).save(file, "PNG")
    return file.getvalue()


def _bars(opened: Browser) -> list[list[str]]:
    return opened.script("""
        const rows = [...document.querySelectorAll("#bars tr")];
        return rows.map((row) => [row.cells[0].innerText, row.cells[2].innerText]);
    """)


def _seen(opened: Browser) -> np.ndarray:
    """The input of the model as shown, RGBA."""
    code = "return [...document.querySelector('#seen').getContext('2d').getImageData(0, 0, 7, 7).data]"
    return np.array(opened.script(code)).reshape(7, 7, 4)


def test_a_chosen_file(opened: Browser, tmp_path: Path):
    (tmp_path / "dark.png").write_bytes(_png())
    opened.type("#file", str(tmp_path / "dark.png"))
    opened.until(EXPLAINED)
    assert (opened.text("#verdict"), opened.text("#confidence")) == ("dark", "> 99.9\u00a0%")
    assert [name for name, _ in _bars(opened)] == ["dark", "medium", "bright"]
    assert opened.text("#spoken")
    assert "93.85" in opened.text("#facts") and "93.36 to 94.30" in opened.text("#facts")
    assert "MIT" in opened.text("#about") and "brightness" in opened.text("#about")
    assert all(re.fullmatch(r"[\d.]+\sms", opened.text(f"#{name}")) for name in ("decode", "inference", "trip"))


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_pasted_or_dropped_image(opened: Browser, kind: str):
    opened.script(GIVE, kind, list(_png(*[255] * 49)))
    opened.until(PREDICTED)
    assert opened.text("#verdict") == "bright"


@pytest.mark.parametrize("pointer", ["mouse", "touch", "pen"])
def test_a_drawing(opened: Browser, pointer: str):
    opened.draw("#ink", [(x, y) for y in range(-150, 151, 30) for x in (-150, 150)], pointer)
    opened.until(EXPLAINED)
    assert opened.text("#verdict") == "bright"
    assert _seen(opened)[1:-1, 1:-1, :3].min() > 100
    opened.click("#clear")
    assert opened.text("#empty") and not opened.script("return document.querySelector('#result').offsetParent")


def test_a_drawing_over_an_image(opened: Browser):
    opened.script(GIVE, "paste", list(_png(*[128] * 49)))
    opened.until(EXPLAINED)
    assert opened.text("#verdict") == "medium"
    opened.draw("#ink", [(x, y) for y in range(-110, 111, 20) for x in (-110, 110)])
    opened.until(f"{EXPLAINED} && document.querySelector('#verdict').innerText !== 'medium'")
    pixels = _seen(opened)[..., 0]
    assert pixels[3, 3] > 200 and abs(pixels[0, 0] - 128) < 5  # strokes on the image


def test_a_drawing_that_is_read_late_does_not_replace_a_newer_image(opened: Browser):
    opened.script(
        """const read = HTMLCanvasElement.prototype.toBlob;
        HTMLCanvasElement.prototype.toBlob = function (done, kind) {
          read.call(this, (blob) => (window.late = () => done(blob)), kind);
        };"""
    )
    opened.draw("#ink", [(-100, 0), (100, 0)])
    opened.until("window.late")
    opened.script(GIVE, "paste", list(_png(*[255] * 49)))
    opened.until(EXPLAINED)
    opened.script("window.late()")
    assert not opened.script("return document.querySelector('.waiting')") and opened.text("#verdict") == "bright"


def test_a_colour_model_offers_no_drawing(chromium: Browser, tmp_path: Path):
    bundles.write(
        tmp_path / "bundle",
        classes=[f"<b>{number}</b> of the classes with a long name" for number in range(12)],
        shape=(6, 8, 3),
    )
    with running(tmp_path / "bundle") as served:
        open_page(chromium, served.url)
        assert chromium.script("return document.querySelector('#ink').hidden")
        chromium.script(GIVE, "paste", list(_png()))
        chromium.until(EXPLAINED)
        assert len(_bars(chromium)) == 10 and _bars(chromium)[0] == [
            "<b>0</b> of the classes with a long name",
            "49.0\u00a0%",
        ]
        chromium.resize(320, 800)
        tallest = "return Math.max(...[...document.querySelectorAll('#bars tr')].map((row) => row.offsetHeight))"
        assert chromium.script(tallest) < 100
        assert "10 most probable of 12 classes" in chromium.text("#caption")
        assert chromium.text("#seen-note").endswith("8 \u00d7 6")


def test_a_photo_is_smoothed_and_a_small_image_shows_its_pixels(opened: Browser, tmp_path: Path):
    rendering = (
        "return [...document.querySelectorAll('.seen canvas')].map((one) => getComputedStyle(one).imageRendering)"
    )
    (tmp_path / "image.png").write_bytes(_png())
    bundles.write(tmp_path / "bundle", shape=(112, 96, 3))
    with running(tmp_path / "bundle") as photos:
        for url, expected in ((None, "pixelated"), (photos.url, "auto")):
            if url:
                open_page(opened, url)
            opened.type("#file", str(tmp_path / "image.png"))
            opened.until(EXPLAINED)
            assert opened.script(rendering) == [expected] * 2
        opened.requests()  # those to the other service


def test_an_uncertain_prediction_is_withheld(opened: Browser):
    opened.script(GIVE, "paste", list(_png(*[64] * 49)))  # a quarter: between dark and medium
    opened.until(PREDICTED)
    assert "medium" not in opened.text("#verdict")
    assert re.search(r"medium, 51.0\s%.* 90.0\s%", opened.text("#why"))
    assert "90.0" in opened.text("#caption")


def test_a_model_without_threshold_says_so(chromium: Browser, tmp_path: Path):
    bundles.write(tmp_path / "bundle", threshold=None, metrics={})
    with running(tmp_path / "bundle") as served:
        open_page(chromium, served.url)
        chromium.script(GIVE, "paste", list(_png()))
        chromium.until(PREDICTED)
        assert chromium.text("#verdict") == "dark"
        assert "500 validation images" in chromium.text("#why")


@pytest.mark.parametrize(
    ("name", "contents", "error"),
    [
        ("broken.png", b"not an image", "PNG"),
        ("large.png", bytes(100_001), "0.10\u00a0MB"),
        ("text.txt", b"not an image", "JPEG"),
        ("cut.png", _png(*range(49))[:45], "truncated"),
        ("wide.png", _png(size=(2_000, 1_000)), "2,000 \u00d7 1,000"),
    ],
)
def test_an_error_is_shown(chromium: Browser, served: Running, tmp_path: Path, name: str, contents: bytes, error: str):
    open_page(chromium, served.url)
    (tmp_path / name).write_bytes(contents)
    chromium.script(GIVE, "paste", list(_png()))
    chromium.until(PREDICTED)
    assert chromium.script(SPOKEN)
    chromium.type("#file", str(tmp_path / name))
    shown = chromium.until(FAILED)
    assert error in shown and not re.search(TECHNICAL, shown)
    assert chromium.script(SPOKEN) == ""  # not the previous answer
    assert chromium.script("return document.querySelector('#result').hidden && document.querySelector('#again').hidden")


def test_a_request_to_a_busy_service_is_retried(chromium: Browser, served: Running):
    open_page(chromium, served.url)
    served.service.admission.images += served.service.settings.queue
    chromium.script(GIVE, "paste", list(_png()))
    assert "busy" in chromium.until(FAILED)
    served.service.admission.images -= served.service.settings.queue
    chromium.click("#again")
    chromium.until(PREDICTED)
    assert chromium.text("#verdict") == "dark" and chromium.script("return document.querySelector('#alert').hidden")


def test_a_late_response_and_a_stopped_service(chromium: Browser, bundle: Path, monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()
    monkeypatch.setattr(
        "darkroom.bundle.classifier.decode_image", lambda *_: released.wait() and np.zeros((7, 7, 1), np.uint8)
    )
    with ExitStack() as stack:
        served = stack.enter_context(running(bundle, timeout=2))
        stack.callback(released.set)  # first: the service waits for its workers
        open_page(chromium, served.url)
        chromium.script(GIVE, "paste", list(_png()))
        assert "too long" in chromium.until(FAILED)
        stack.close()
        chromium.click("#again")
        assert chromium.until(f"{FAILED}.includes('does not respond')")


def test_the_api_key_is_requested_and_kept_in_the_tab(chromium: Browser, bundle: Path):
    with running(bundle, api_key="sesame") as served:
        open_page(chromium, served.url)
        assert chromium.script("return document.activeElement.id") == "key"
        chromium.type("#key", "wrong")
        chromium.press(ENTER)
        chromium.until("document.querySelector('#key-note').textContent.includes('wrong')")
        chromium.script("document.querySelector('#key').value = ''")
        chromium.type("#key", "sesame")
        chromium.press(ENTER)
        assert chromium.until("document.querySelector('#about dt') && document.querySelector('#access').hidden")
        chromium.script(GIVE, "paste", list(_png()))
        chromium.until(EXPLAINED)
        assert chromium.script("return [Object.values(sessionStorage), localStorage.length, document.cookie]") == [
            ["sesame"],
            0,
            "",
        ]


def test_all_controls_can_be_used_with_the_keyboard(opened: Browser):
    def focused() -> str:
        return opened.script("return document.activeElement.id || document.activeElement.textContent")

    opened.press(TAB)
    assert focused() == "file"
    ring = opened.script("return getComputedStyle(document.querySelector('label[for=file]')).outlineStyle")
    assert ring == "solid"
    opened.script(GIVE, "paste", list(_png()))
    opened.until(EXPLAINED)
    opened.press(TAB)
    assert focused() == "clear"
    opened.press(ENTER)
    assert focused() == "file" and opened.text("#empty")
    opened.press(TAB)
    assert focused() == "API"


def test_all_elements_have_accessible_names(opened: Browser):
    opened.script(GIVE, "paste", list(_png()))
    opened.until(EXPLAINED)
    nodes = [node for node in opened.devtools("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node]
    for role in ("button", "image", "link", "rowheader", "heading", "region", "table"):
        assert [name for kind, name in named if kind == role and not name.strip()] == []
        assert role in {kind for kind, _ in named}
    assert ("button", "Choose a file") in named and ("rowheader", "medium") in named
    assert ("image", "The input of the model, 7 by 7 pixels") in named


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Browser, scheme: str):
    opened.media(prefers_color_scheme=scheme)
    opened.script(GIVE, "paste", list(_png(*[64] * 49)))
    opened.until(EXPLAINED)
    shown = colours(opened, "h1, h2, .soft, #why, th, td, dt, dd, caption, figcaption, a, .brand")
    ratios = {name: contrast(*pair) for name, *pair in shown}
    assert min(ratios.values()) >= 4.5, ratios
    assert (luminance(shown[0][2]) < 0.1) == (scheme == "dark")


def test_it_fits_a_narrow_window_and_respects_reduced_motion(opened: Browser):
    opened.script(GIVE, "paste", list(_png()))
    opened.until(EXPLAINED)
    for width in (320, 768, 1920):
        opened.resize(width, 800)
        assert opened.script("return document.documentElement.scrollWidth") <= width
    moving = "return getComputedStyle(document.querySelector('#bars .bar div'), '::before').transitionDuration"
    assert opened.script(moving) == "0.25s"
    opened.media(prefers_reduced_motion="reduce")
    assert opened.script(moving) == "0s"


def test_the_documentation_fits_a_phone_and_follows_the_colour_scheme(chromium: Browser, served: Running):
    for scheme in ("light", "dark"):
        chromium.resize(390, 844)
        chromium.media(prefers_color_scheme=scheme)
        chromium.open(f"{served.url}docs")
        chromium.script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert chromium.script("return document.documentElement.scrollWidth") <= 390
        shown = colours(chromium, "h1, p, a, td, th")
        assert min(contrast(*pair) for _, *pair in shown) >= 4.5
        assert (luminance(shown[0][2]) < 0.1) == (scheme == "dark")
