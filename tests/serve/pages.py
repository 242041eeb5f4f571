"""Test helpers: a page of the service in a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests.browser import Browser
from tests.serving import listening

PREDICTED = "!document.querySelector('#result').hidden && !document.querySelector('.waiting')"
EXPLAINED = "!document.querySelector('#explained').hidden && !document.querySelector('.waiting')"
FAILED = "!document.querySelector('#alert').hidden && document.querySelector('#problem').textContent"
SPOKEN = "return document.querySelector('#spoken').textContent"


@dataclass(frozen=True)
class Running:
    """A service and its URL."""

    service: Service
    url: str


@contextmanager
def running(folder: Path, **settings: object) -> Iterator[Running]:
    service = Service(Settings(bundle=folder, **{"timeout": 60, **settings}))
    with listening(app.build(service, AccessLog("off")), service) as (_, url):
        yield Running(service, f"{url}/")
    service.close()


def open_page(chromium: Browser, url: str) -> None:
    chromium.resize(1100, 800)
    chromium.media()
    chromium.open(url)
    chromium.until("document.querySelector('#alert:not([hidden]), #access:not([hidden]), #about dt')")


def colours(opened: Browser, selector: str) -> list[tuple[str, list[float], list[float]]]:
    """The name, text colour and background (RGB) of each matching element that has text."""
    code = """
        const colour = (element, name) => getComputedStyle(element)[name].match(/[\\d.]+/g).slice(0, 3).map(Number);
        const shown = [...document.querySelectorAll(arguments[0])].filter((element) => element.innerText);
        const ground = colour(document.body, "backgroundColor");
        return shown.map((element) => [element.id || element.tagName, colour(element, "color"), ground]);
    """
    return opened.script(code, selector)


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of WCAG 2."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: list[float]) -> float:
    linear = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
