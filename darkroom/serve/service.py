"""The classifier behind the HTTP: which bundle answers, in which threads, and within what time.

    service = Service(Settings(bundle=Path("models/bundle")))
    outcomes = await service.pictures([contents])                   # picture files
    bundle, logits, probabilities = await service.infer(images)     # (N, h, w, C) uint8
    answer = await service.run(job, pictures=n)                     # any work: job(bundle) in a worker thread, with `decode` and `answer`

Each of them is admitted first, and raises Problem 429 where the service is full, 413 where it can never be taken, and 504
after `settings.timeout` seconds, upon which work that still waits is dropped.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from time import perf_counter
from typing import TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from darkroom.bundle.classifier import Bundle, check_golden, picture, read, run
from darkroom.bundle.drift import Watch, brightness
from darkroom.inputs.image import Unusable
from darkroom.serve import access_log
from darkroom.serve.admission import Admission
from darkroom.serve.problems import Problem
from darkroom.serve.settings import Settings
from darkroom.serve.telemetry import Telemetry

T = TypeVar("T")
_RUN = 2**20  # values of the pictures that the model is given at once: to resize one takes about 33 bytes
_TOGETHER = 64  # answers of the model that go to the drift watch at a time


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture file: probabilities (K,) float32, or an error."""

    bundle: Bundle  # that answered
    probabilities: np.ndarray | None
    error: str | None  # why it is no usable picture, in few words
    decode_ms: float
    inference_ms: float

    @property
    def abstained(self) -> bool:
        """Whether an answer is there but should be withheld."""
        return self.probabilities is not None and self.bundle.manifest.withholds(float(self.probabilities.max()))


class _Served:
    """A bundle with the watch over what it sees: they are exchanged together. May be used from several threads."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self._watch = Watch(bundle.manifest.reference)
        self._unseen: list[
            tuple[np.ndarray, np.ndarray]
        ] = []  # the watch takes much longer for each of many than for all of them
        self._lock = Lock()

    def see(self, images: np.ndarray, probabilities: np.ndarray) -> None:
        """Takes in pictures (N, h, w, C) uint8 and their answers (N, K)."""
        seen = brightness(images), probabilities
        with self._lock:
            self._unseen.append(seen)
            if len(self._unseen) >= _TOGETHER:
                self._show()

    def drift(self) -> dict[str, float]:
        """The watch's scores by feature."""
        with self._lock:
            self._show()
            return self._watch.scores()

    def _show(self) -> None:
        if self._unseen:
            self._watch.see(*map(np.concatenate, zip(*self._unseen, strict=True)))
            self._unseen.clear()


class Service:
    """One bundle, served. Its methods are for the event loop's thread, but for `decode` and `answer`, which are for the workers."""

    def __init__(self, settings: Settings):
        """Reads the bundle; raises DarkroomError where it cannot be served."""
        self.settings = settings
        self.ready = True  # whether new requests are welcome
        self.admission = Admission(settings.queue, 4 * settings.max_bytes)
        self.telemetry = Telemetry(self.admission)
        self._threads = ThreadPoolExecutor(settings.threads, "worker")
        self._changing = asyncio.Lock()
        self._previous: _Served | None = None
        self._serve(self._read())

    @property
    def bundle(self) -> Bundle:
        """The bundle in use; a request keeps the one that it began with."""
        return self._served.bundle

    def max_pixels(self, bundle: Bundle) -> int:
        """Of a picture for the bundle: what both it and the settings allow."""
        return min(self.settings.max_pixels, bundle.manifest.max_pixels)

    async def body(self, request: Request) -> bytes:
        """The request's body.

        Raises Problem 413 where it is longer than settings.max_bytes, 408 where it does not come in time, 429 where too much is held already,
        400 where it ends early.
        """
        limit = self.settings.max_bytes
        too_long = Problem(413, f"The body has more than {limit:,} bytes.")
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
                raise Problem(408, f"The body did not arrive within {self.settings.timeout:g} seconds.") from None
            except ClientDisconnect:
                raise Problem(400, "The body ended early.") from None
        return b"".join(chunks)

    async def pictures(self, contents: Sequence[bytes]) -> list[Outcome]:
        """Decodes and classifies picture files, each on its own: one that is unusable fails no other."""
        served = self._served
        jobs = [partial(self._classify, served, one) for one in contents]
        return await self._admitted(served.bundle, jobs, len(contents), sum(map(len, contents)))

    async def infer(self, images: np.ndarray) -> tuple[Bundle, np.ndarray, np.ndarray]:
        """The bundle that answers, with its logits and probabilities, each (N, K) float32, of images (N, h, w, C) uint8 of any size."""
        served = self._served
        [(logits, probabilities)] = await self._admitted(
            served.bundle, [partial(self._infer, served, images)], len(images), images.nbytes
        )
        return served.bundle, logits, probabilities

    async def run(self, job: Callable[[Bundle], T], pictures: int, size: int = 0) -> T:
        """What `job` returns, run in a worker thread with the bundle in use: work as of so many pictures, with `size` bytes held meanwhile."""
        bundle = self.bundle
        [answer] = await self._admitted(bundle, [partial(job, bundle)], pictures, size)
        return answer

    def decode(self, bundle: Bundle, contents: bytes) -> np.ndarray:
        """The pixels (H, W, C) uint8 of a picture file, as the bundle's model takes them; raises pictures.Unusable."""
        started = perf_counter()
        image = picture(replace(bundle.manifest, max_pixels=self.max_pixels(bundle)), contents)
        self.telemetry.decoded(perf_counter() - started)
        return image

    def answer(self, bundle: Bundle, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The model's logits and probabilities, each (N, K) float32, of images (N, h, w, C) uint8, N at least 1."""
        started, size = perf_counter(), max(1, _RUN // images[0].size)
        runs = [run(bundle, images[first : first + size]) for first in range(0, len(images), size)]
        logits, probabilities = map(np.concatenate, zip(*runs, strict=True))
        self.telemetry.inferred(perf_counter() - started)
        return logits, probabilities

    async def reload(self) -> Bundle:
        """Reads the bundle's folder again and serves what is there; raises DarkroomError, and goes on as before, where that is no good bundle."""
        async with self._changing:
            new = await asyncio.to_thread(self._read)
            if new.bundle.version != self.bundle.version:  # else there would be nothing to go back to
                self._previous = self._served
                self._serve(new)
            return self.bundle

    async def rollback(self) -> Bundle:
        """Serves the bundle before the present one; raises Problem 409 where there was none."""
        async with self._changing:
            if self._previous is None:
                raise Problem(409, "There is no earlier bundle to go back to.")
            new, self._previous = self._previous, self._served
            self._serve(new)
            return new.bundle

    def metrics(self) -> bytes:
        """All measurements in the format of Prometheus."""
        return self.telemetry.text(self._served.drift())

    def close(self) -> None:
        """Ends the worker threads, after what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> _Served:
        bundle = read(
            self.settings.bundle, threads=1, variant=self.settings.variant
        )  # one a worker: the workers fill the cores
        check_golden(bundle, self.settings.bundle)
        return _Served(bundle)

    def _serve(self, served: _Served) -> None:
        self._served = served
        self.telemetry.serving(served.bundle)

    async def _admitted(self, bundle: Bundle, jobs: Sequence[Callable[[], T]], pictures: int, size: int) -> list[T]:
        with self.admission.take(pictures, size):
            access_log.note(pictures, bundle.version)
            loop = asyncio.get_running_loop()
            answers = [loop.run_in_executor(self._threads, self._worked, job, pictures // len(jobs)) for job in jobs]
            try:
                async with asyncio.timeout(self.settings.timeout):
                    return [await answer for answer in answers]
            except TimeoutError:
                raise Problem(504, f"The answer was not ready within {self.settings.timeout:g} seconds.") from None
            finally:
                for answer in answers:
                    answer.cancel()

    def _worked(self, job: Callable[[], T], pictures: int) -> T:
        with self.telemetry.running(pictures):
            return job()

    def _classify(self, served: _Served, contents: bytes) -> Outcome:
        started = perf_counter()
        try:
            image = self.decode(served.bundle, contents)
        except Unusable as error:
            return Outcome(served.bundle, None, str(error), 1000 * (perf_counter() - started), 0)
        decoded = perf_counter()
        _, probabilities = self.answer(served.bundle, image[None])
        answered = perf_counter()
        self._note(served, image[None], probabilities)
        return Outcome(served.bundle, probabilities[0], None, 1000 * (decoded - started), 1000 * (answered - decoded))

    def _infer(self, served: _Served, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = self.answer(served.bundle, images)
        self._note(served, images, probabilities)
        return logits, probabilities

    def _note(self, served: _Served, images: np.ndarray, probabilities: np.ndarray) -> None:
        self.telemetry.answered(served.bundle, probabilities)
        served.see(images, probabilities)


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return (
        int(declared) if declared.isdecimal() and len(declared) < 20 else 0
    )  # what is wrong is seen while the body is read
