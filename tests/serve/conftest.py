"""Fixtures that several files of tests of the service share."""

from collections.abc import Iterator

import httpx
import pytest

from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.inference_protocol import JSON_LIMIT
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.browser import CHROMIUM, DRIVER, Browser, browser
from tests.serving import listening


@pytest.fixture(scope="module")
def inference_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the model `toy`, for images of one channel and at most 100 pixels."""
    folder = tmp_path_factory.mktemp("inference") / "bundle"
    bundles.write(folder, ("dark", "bright"), (2, 2, 1), max_pixels=100)
    service = Service(Settings(bundle=folder, threads=1, max_bytes=2 * JSON_LIMIT))
    yield service
    service.close()


@pytest.fixture(scope="module")
def inference_url(inference_service: Service) -> Iterator[str]:
    with listening(app.build(inference_service, AccessLog("off")), inference_service) as (_, url):
        yield url


@pytest.fixture
def client(inference_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=inference_url, timeout=60) as client:
        yield client


@pytest.fixture
def version(inference_service: Service) -> str:
    return inference_service.bundle.version


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver on this machine")
    with browser() as opened:
        yield opened
