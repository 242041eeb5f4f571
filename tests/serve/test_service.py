"""Tests of the service behind the HTTP API: limits of bodies and time, reloads."""

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from darkroom.bundle import classifier
from darkroom.bundle.classifier import Bundle
from darkroom.core.errors import DarkroomError
from darkroom.serve.problems import Problem
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.serving import BLACK, WHITE, busy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundles.write(tmp_path / "bundle")
    return tmp_path / "bundle"


@asynccontextmanager
async def timeout(service: Service, seconds: float) -> AsyncIterator[None]:
    """Change the service's time limit."""
    before, service.settings = service.settings, replace(service.settings, timeout=seconds)
    try:
        yield
    finally:
        service.settings = before


def status_of(work: Awaitable[Any]) -> int:
    with pytest.raises(Problem) as raised:
        asyncio.run(work)
    return raised.value.status


def request(*chunks: bytes, ends: Callable[[], Awaitable[dict[str, Any]]] | None = None, **headers: str) -> Request:
    """A request whose body arrives in chunks; `ends` is received after them."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        return await ends() if ends else {"type": "http.request", "body": b"", "more_body": False}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def test_images_with_an_unusable_one(folder: Path):
    service = Service(Settings(bundle=folder))
    white, bad, black = asyncio.run(service.classify([WHITE, b"bad", BLACK]))
    assert white.bundle is bad.bundle is black.bundle is service.bundle
    assert (white.probabilities.argmax(), bad.probabilities, black.probabilities.argmax()) == (2, None, 0)
    assert (white.error, black.error) == (None, None) and bad.error
    assert not white.bundle.manifest.withholds(float(white.probabilities.max())) and bad.probabilities is None


def test_infer_takes_images_of_any_size(folder: Path):
    service = Service(Settings(bundle=folder))
    images = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 1), dtype=np.uint8)
    bundle, logits, probabilities = asyncio.run(service.infer(images))
    assert bundle is service.bundle
    for found, expected in zip((logits, probabilities), bundles.answers(images, 3), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_large_images_run_in_small_batches(folder: Path, monkeypatch: pytest.MonkeyPatch):
    batches, run = [], classifier.run

    def recording(bundle: Bundle, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batches.append(len(images))
        return run(bundle, images)

    monkeypatch.setattr(classifier, "run", recording)
    images = (
        np.random.default_rng(0).integers(0, 256, (5, 500, 1000, 1), dtype=np.uint8)
        // np.arange(1, 6, dtype=np.uint8)[:, None, None, None]
    )
    _, logits, probabilities = asyncio.run(Service(Settings(bundle=folder)).infer(images))
    assert batches == [2, 2, 1]
    for found, expected in zip((logits, probabilities), bundles.answers(images, 3), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_run_passes_the_bundle_to_the_job(folder: Path):
    service = Service(Settings(bundle=folder))
    assert asyncio.run(service.run(lambda bundle: bundle, images=1)) is service.bundle


def test_a_body_in_chunks(folder: Path):
    service = Service(Settings(bundle=folder, max_bytes=6))
    assert asyncio.run(service.body(request(b"abc", b"", b"def"))) == b"abcdef"
    assert asyncio.run(service.body(request())) == b""
    assert service.admission.bytes == 0


@pytest.mark.parametrize("limit", [6, 3])
def test_a_body_that_is_too_long(folder: Path, limit: int):
    service = Service(Settings(bundle=folder, max_bytes=limit))

    async def never() -> dict[str, Any]:
        pytest.fail("it continues to read")

    assert status_of(service.body(request(b"abc", b"defg", ends=never))) == 413
    assert status_of(service.body(request(ends=never, content_length="7"))) == 413
    assert service.admission.bytes == 0


def test_an_invalid_declared_length_is_ignored(folder: Path):
    service = Service(Settings(bundle=folder))
    for declared in ("many", "-1", "9" * 5000, "²"):
        invalid = Request(
            {"type": "http", "headers": [(b"content-length", declared.encode("latin-1"))]}, request(b"abc").receive
        )
        assert asyncio.run(service.body(invalid)) == b"abc"


ZIPPED = gzip.compress(b"abcdef", mtime=0)
DEFLATED = zlib.compress(b"abcdef")


@pytest.mark.parametrize(
    ("sent", "encoding"),
    [(ZIPPED, "gzip"), (ZIPPED, "X-GZip"), (DEFLATED, "deflate"), (b"abcdef", "identity"), (b"abcdef", "")],
)
def test_a_compressed_body(folder: Path, sent: bytes, encoding: str):
    service = Service(Settings(bundle=folder, max_bytes=100))
    assert asyncio.run(service.body(request(sent, content_encoding=encoding))) == b"abcdef"
    assert service.admission.bytes == 0


@pytest.mark.parametrize(
    ("sent", "encoding", "status"),
    [
        (b"abcdef", "gzip", 400),
        (ZIPPED[:-1], "gzip", 400),
        (ZIPPED * 2, "gzip", 400),
        (gzip.compress(bytes(2001), mtime=0), "gzip", 413),
        (gzip.compress(bytes(10**6), mtime=0), "gzip", 413),
        (ZIPPED, "br", 415),
        (ZIPPED, "gzip, gzip", 415),
    ],
)
def test_a_body_that_cannot_be_decompressed(folder: Path, sent: bytes, encoding: str, status: int):
    service = Service(Settings(bundle=folder, max_bytes=2000))
    assert status_of(service.body(request(sent, content_encoding=encoding))) == status
    assert service.admission.bytes == 0


def test_a_body_that_does_not_arrive(folder: Path):
    service = Service(Settings(bundle=folder, timeout=0.01))

    async def forever() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    assert status_of(service.body(request(b"abc", ends=forever))) == 408
    assert service.admission.bytes == 0


def test_a_body_that_ends_early(folder: Path):
    service = Service(Settings(bundle=folder))

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert status_of(service.body(request(b"abc", ends=gone))) == 400


def test_too_many_bodies_at_once(folder: Path):
    service = Service(Settings(bundle=folder, max_bytes=10))  # holds at most 40 bytes

    async def conversation() -> list[Any]:
        arrived = asyncio.Event()

        async def ends() -> dict[str, Any]:
            await arrived.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        bodies = [asyncio.create_task(service.body(request(bytes(10), ends=ends))) for _ in range(5)]
        await asyncio.wait(bodies, return_when=asyncio.FIRST_COMPLETED)
        arrived.set()
        return await asyncio.gather(*bodies, return_exceptions=True)

    *four, fifth = asyncio.run(conversation())
    assert four == [bytes(10)] * 4 and fifth.status == 429
    assert service.admission.bytes == 0


def test_a_full_service_refuses_at_once(folder: Path):
    service = Service(Settings(bundle=folder, threads=1, queue=4))

    async def conversation() -> None:
        async with busy(service, images=2):
            waiting = asyncio.create_task(service.classify([WHITE, BLACK]))
            await asyncio.sleep(0)
            for work in (service.classify([WHITE]), service.infer(bundles.grey(0)), service.run(str, 1)):
                with pytest.raises(Problem) as raised:
                    await work
                assert raised.value.status == 429
        assert len(await waiting) == 2
        assert service.admission.images == 0
        assert len(await service.classify([WHITE] * 4)) == 4

    asyncio.run(conversation())


def test_more_images_than_the_queue_are_refused(folder: Path):
    assert status_of(Service(Settings(bundle=folder, queue=4)).classify([WHITE] * 5)) == 413


def test_a_job_that_waits_too_long_is_dropped(folder: Path):
    service = Service(Settings(bundle=folder, threads=1))
    done = []

    async def conversation() -> None:
        async with busy(service), timeout(service, 0.05):
            with pytest.raises(Problem) as raised:
                await service.run(lambda _: done.append("late"), images=1)
            assert raised.value.status == 504
            await asyncio.sleep(0)  # the loop cancels the jobs in its next iteration
        await service.run(lambda _: done.append("next"), images=1)

    asyncio.run(conversation())
    assert done == ["next"]
    assert service.admission.images == 0


def test_no_image_of_a_request_that_waits_too_long_is_processed(folder: Path):
    service = Service(Settings(bundle=folder, threads=1))

    async def conversation() -> None:
        async with busy(service), timeout(service, 0.05):
            with pytest.raises(Problem) as raised:
                await service.classify([WHITE, WHITE])
            assert raised.value.status == 504
            await asyncio.sleep(0)  # the loop cancels the jobs in its next iteration
        assert service.admission.images == 0
        await service.classify([BLACK])

    asyncio.run(conversation())
    assert b"darkroom_decode_seconds_count 1.0" in service.metrics()


def test_an_error_in_a_job_is_raised_and_releases_its_capacity(folder: Path):
    service = Service(Settings(bundle=folder))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(service.run(lambda _: 1 / 0, images=1))
    assert service.admission.images == 0


def test_reload_and_rollback(folder: Path):
    service = Service(Settings(bundle=folder))
    old = service.bundle
    bundles.write(folder, classes=("off", "on"))
    assert service.bundle is old
    new = asyncio.run(service.reload())
    assert service.bundle is new and new.manifest.classes == ("off", "on")
    assert asyncio.run(service.rollback()) is old is service.bundle
    assert asyncio.run(service.rollback()) is new is service.bundle


def test_reloading_the_same_bundle_keeps_the_previous_one(folder: Path):
    service = Service(Settings(bundle=folder))
    old = service.bundle
    bundles.write(folder, classes=("off", "on"))
    new = asyncio.run(service.reload())
    assert asyncio.run(service.reload()) is new
    assert asyncio.run(service.rollback()) is old


def test_rollback_needs_a_previous_bundle(folder: Path):
    assert status_of(Service(Settings(bundle=folder)).rollback()) == 409


def test_a_request_keeps_the_bundle_that_it_started_with(folder: Path):
    service = Service(Settings(bundle=folder, threads=1))
    old = service.bundle

    async def conversation() -> None:
        async with busy(service):
            waiting = asyncio.create_task(service.classify([WHITE]))
            await asyncio.sleep(0)
            bundles.write(folder, classes=("off", "on"))
            await service.reload()
        [outcome] = await waiting
        assert outcome.bundle is old and len(outcome.probabilities) == 3
        [outcome] = await service.classify([WHITE])
        assert outcome.bundle is service.bundle and len(outcome.probabilities) == 2

    asyncio.run(conversation())


def half_written(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])


def without_a_file(folder: Path) -> None:
    (folder / "golden.npz").unlink()


def between_two_renames(folder: Path) -> None:
    os.rename(folder, folder.with_name("aside"))


def with_another_model(folder: Path) -> None:
    """Correct digests, but the model's output differs from the golden examples."""
    bundles.write(folder, golden=np.zeros((8, 3), np.float32))


@pytest.mark.parametrize("spoil", [half_written, without_a_file, between_two_renames, with_another_model])
def test_a_bad_bundle_is_refused(folder: Path, spoil: Callable[[Path], None]):
    service = Service(Settings(bundle=folder))
    old = service.bundle
    spoil(folder)
    with pytest.raises(DarkroomError):
        asyncio.run(service.reload())
    assert service.bundle is old
    assert status_of(service.rollback()) == 409
    with pytest.raises(DarkroomError):
        Service(Settings(bundle=folder))
