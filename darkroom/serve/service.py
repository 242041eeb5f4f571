"""The classifier behind the HTTP API: the bundle in use, the worker threads and the time limits.

    service = Service(Settings(bundle=Path("models/bundle")))
    outcomes = await service.classify([contents])                 # image files
    bundle, logits, probabilities = await service.infer(images)   # (N, h, w, C) uint8
    result = await service.run(job, images=n)                     # job(bundle) in a worker thread
    result = await service.work(job, images=n)                    # job(served), for a job that records what it saw

Each call first passes admission control. It raises Problem 429 if the service is full, 413 if the request can never
fit, and 504 after `settings.timeout` seconds; work that has not started by then is dropped.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock, get_ident
from time import perf_counter
from typing import TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from darkroom.bundle import classifier
from darkroom.bundle.classifier import Bundle
from darkroom.bundle.drift import Report, Watch, brightness
from darkroom.bundle.histories import Recommender
from darkroom.bundle.tables import TableClassifier
from darkroom.bundle.texts import TextClassifier
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import plural
from darkroom.inputs.denoising import denoise
from darkroom.inputs.image import Unusable
from darkroom.inputs.resizing import seen
from darkroom.serve import access_log, compression
from darkroom.serve.admission import Admission
from darkroom.serve.problems import Problem
from darkroom.serve.settings import Settings
from darkroom.serve.telemetry import Telemetry

T = TypeVar("T")
PARSE_INLINE = 2**14  # bytes: parsing longer JSON would block the event loop for more than a millisecond
_BATCH_VALUES = 2**20  # pixel values per model run: resizing takes about 33 bytes for each
_DRIFT_BATCH = 64  # model runs that are passed to the drift watch together


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one image file: probabilities (K,) float32, or an error."""

    bundle: Bundle
    probabilities: np.ndarray | None
    error: str | None  # why the file is not a usable image
    decode_ms: float
    inference_ms: float


class Served:
    """A bundle and its drift watch, which are replaced together. Thread-safe."""

    def __init__(self, bundle: Bundle):
        self.bundle, kind = bundle, bundle.manifest.kind
        self.texts = TextClassifier(bundle) if kind == "text" else None
        self.tables = TableClassifier(bundle) if kind == "table" else None
        self.histories = Recommender(bundle) if kind == "history" else None
        for reader in filter(None, (self.texts, self.tables, self.histories)):
            reader.prepare()
        self._watch = Watch(bundle.manifest.reference)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []  # one call of the watch for many runs is much faster
        self._lock = Lock()

    def see(self, measured: np.ndarray, probabilities: np.ndarray) -> None:
        """Record probabilities (N, K) and what the drift watch measures of their inputs, (N,) or (N, features)."""
        with self._lock:
            self._pending.append((measured, probabilities))
            if len(self._pending) >= _DRIFT_BATCH:
                self._flush()

    def drift(self) -> Report:
        """What the drift watch has found."""
        with self._lock:
            self._flush()
            return self._watch.report()

    def _flush(self) -> None:
        if self._pending:
            self._watch.see(*map(np.concatenate, zip(*self._pending, strict=True)))
            self._pending.clear()


class Service:
    """Serves one bundle. Call its methods in the event loop's thread, `decode` and `predict` in worker threads."""

    def __init__(self, settings: Settings):
        """Read the bundle; raises DarkroomError if it cannot be served."""
        self.settings = settings
        self.ready = True  # False from the beginning of the shutdown
        self.admission = Admission(settings.queue, 4 * settings.max_bytes)
        served = self._read()
        self.telemetry = Telemetry(self.admission, served.bundle.manifest.kind)
        self._threads = ThreadPoolExecutor(settings.threads, "worker")
        self._since: dict[int, float] = {}  # by worker thread: when its current job began
        self._changing = asyncio.Lock()
        self._previous: Served | None = None
        self._serve(served)

    @property
    def bundle(self) -> Bundle:
        """The bundle in use. A request keeps the bundle that it started with."""
        return self._served.bundle

    @property
    def welcoming(self) -> bool:
        """Whether new requests are welcome: no shutdown has begun, and a worker thread is idle or within its time."""
        latest = perf_counter() - self.settings.timeout
        stuck = sum(since < latest for since in list(self._since.values()))
        return self.ready and stuck < self.settings.threads

    def max_pixels(self, bundle: Bundle) -> int:
        """The largest image that both the settings and the bundle allow, in pixels."""
        return min(self.settings.max_pixels or bundle.manifest.max_pixels, bundle.manifest.max_pixels)

    async def body(self, request: Request, limit: int | None = None) -> bytes:
        """The decompressed body of a request.

        Raises Problem 413 if it is longer than settings.max_bytes or `limit`, compressed or not, 408 if it does not
        arrive in time, 429 if the service holds too many bytes already, 415 for an unsupported Content-Encoding, 400
        if the client disconnects or the body cannot be decompressed.
        """
        compressed = compression.check_encoding(", ".join(request.headers.getlist("content-encoding")))
        limit = min(limit or self.settings.max_bytes, self.settings.max_bytes)
        received = await self._received(request, limit)
        if not compressed:
            return received
        return await self.run(lambda _: compression.decompress(received, limit), images=0, size=limit)

    async def parsed(self, parse: Callable[[bytes], T], body: bytes) -> T:
        """parse(body), in a worker thread if the body is long."""
        if len(body) <= PARSE_INLINE:
            return parse(body)
        return await self.run(lambda _: parse(body), images=0, size=len(body))

    async def classify(self, contents: Sequence[bytes]) -> list[Outcome]:
        """Decode and classify image files, each on its own: an unusable file does not affect the others."""
        served = self._served
        jobs = [partial(self._classify, served, one) for one in contents]
        return await self._admitted(served.bundle, jobs, len(contents), sum(map(len, contents)))

    async def infer(self, images: np.ndarray) -> tuple[Bundle, np.ndarray, np.ndarray]:
        """The bundle, logits and probabilities, each (N, K) float32, for images (N, h, w, C) uint8 of any size."""
        served = self._served
        [(logits, probabilities)] = await self._admitted(
            served.bundle, [partial(self._infer, served, images)], len(images), images.nbytes
        )
        return served.bundle, logits, probabilities

    async def run(self, job: Callable[[Bundle], T], images: int, size: int = 0) -> T:
        """The result of job(bundle) in a worker thread, admitted as `images` images of `size` bytes in total."""
        return await self.work(lambda served: job(served.bundle), images, size)

    async def work(self, job: Callable[[Served], T], images: int, size: int = 0) -> T:
        """As `run`, but of job(served)."""
        served = self._served
        [result] = await self._admitted(served.bundle, [partial(job, served)], images, size)
        return result

    def decode(self, bundle: Bundle, contents: bytes) -> np.ndarray:
        """The pixels (H, W, C) uint8 of an image file at the model's input size; raises image.Unusable."""
        started = perf_counter()
        manifest = replace(bundle.manifest, max_pixels=self.max_pixels(bundle))
        image = classifier.decode_image(manifest, contents)
        self.telemetry.decoded(perf_counter() - started)
        return image

    def predict(self, bundle: Bundle, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, each (N, K) float32, for images (N, h, w, C) uint8, N at least 1."""
        started, size = perf_counter(), max(1, _BATCH_VALUES // images[0].size)
        runs = [classifier.run(bundle, images[first : first + size]) for first in range(0, len(images), size)]
        logits, probabilities = map(np.concatenate, zip(*runs, strict=True))
        self.telemetry.inferred(perf_counter() - started)
        return logits, probabilities

    async def reload(self) -> Bundle:
        """Read and serve the bundle's folder again. If that raises DarkroomError, the current bundle stays in use."""
        async with self._changing:
            new = await asyncio.to_thread(self._read)
            if new.bundle.manifest.kind != self.bundle.manifest.kind:
                raise DarkroomError(f"The new bundle takes {plural(new.bundle.manifest.kind)}: start another service.")
            if new.bundle.version != self.bundle.version:  # else rollback would lead to the same bundle
                self._previous = self._served
                self._serve(new)
            return self.bundle

    async def rollback(self) -> Bundle:
        """Serve the previous bundle; raises Problem 409 if there is none."""
        async with self._changing:
            if self._previous is None:
                raise Problem(409, "There is no previous bundle: no reload has replaced the first one.")
            new, self._previous = self._previous, self._served
            self._serve(new)
            return new.bundle

    def metrics(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return self.telemetry.text(self.drift())

    def drift(self) -> Report:
        """How the images since the bundle was loaded compare with the validation set."""
        return self._served.drift()

    def close(self) -> None:
        """End the worker threads after their current jobs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Served:
        folder = self.settings.bundle
        bundle = classifier.read(
            folder, threads=1, variant=self.settings.variant
        )  # one per worker: workers use all cores
        classifier.check_golden(bundle, folder)
        return Served(bundle)

    def _serve(self, served: Served) -> None:
        self._served = served
        self.telemetry.serving(served.bundle)

    async def _received(self, request: Request, limit: int) -> bytes:
        too_long = Problem(413, f"The request body has more than {limit:,} bytes.")
        if _declared_length(request) > limit:
            raise too_long
        chunks: list[bytes] = []
        with self.admission.holding() as hold:
            try:
                async with asyncio.timeout(self.settings.timeout):
                    async for chunk in request.stream():
                        if hold(len(chunk)) > limit:
                            raise too_long
                        chunks.append(chunk)
            except TimeoutError:
                seconds = self.settings.timeout
                raise Problem(408, f"The request body did not arrive within {seconds:g} seconds.") from None
            except ClientDisconnect:
                raise Problem(400, "The client disconnected before the end of the request body.") from None
        return b"".join(chunks)

    async def _admitted(self, bundle: Bundle, jobs: Sequence[Callable[[], T]], images: int, size: int) -> list[T]:
        with self.admission.take(images, size):
            access_log.note(images, bundle.version)
            loop = asyncio.get_running_loop()
            results = [loop.run_in_executor(self._threads, self._worked, job, images // len(jobs)) for job in jobs]
            try:
                async with asyncio.timeout(self.settings.timeout):
                    return [await result for result in results]
            except TimeoutError:
                raise Problem(504, f"The response was not ready within {self.settings.timeout:g} seconds.") from None
            finally:
                for result in results:
                    result.cancel()

    def _worked(self, job: Callable[[], T], images: int) -> T:
        worker = get_ident()
        self._since[worker] = perf_counter()
        try:
            with self.telemetry.running(images):
                return job()
        finally:
            del self._since[worker]

    def _classify(self, served: Served, contents: bytes) -> Outcome:
        started = perf_counter()
        try:
            image = self.decode(served.bundle, contents)
        except Unusable as error:
            return Outcome(served.bundle, None, str(error), 1000 * (perf_counter() - started), 0)
        decoded = perf_counter()
        _, probabilities = self.predict(served.bundle, image[None])
        predicted = perf_counter()
        self._note(served, image[None], probabilities)
        return Outcome(served.bundle, probabilities[0], None, 1000 * (decoded - started), 1000 * (predicted - decoded))

    def _infer(self, served: Served, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = self.predict(served.bundle, images)
        self._note(served, images, probabilities)
        return logits, probabilities

    def _note(self, served: Served, images: np.ndarray, probabilities: np.ndarray) -> None:
        self.telemetry.predicted(served.bundle, probabilities)
        manifest = served.bundle.manifest
        part, covered = seen(images, manifest.shape[:2], manifest.resize, manifest.crop_fraction)
        served.see(covered * brightness(denoise(part, manifest.denoise)), probabilities)


def _declared_length(request: Request) -> int:
    """The declared body length; 0 if it is missing or invalid, as `body` counts the bytes that arrive."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and len(declared) < 20 else 0
