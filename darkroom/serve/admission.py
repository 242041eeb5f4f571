"""Admission control: refuse a request before any work is done for it if the service is full."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from darkroom.core.spelling import counted
from darkroom.serve.problems import Problem

RETRY_AFTER = 1  # seconds


class Admission:
    """Counts the images in the service, waiting or in progress, and the bytes held for requests. Not thread-safe."""

    def __init__(self, max_images: int, max_bytes: int):
        self.max_images, self.max_bytes = max_images, max_bytes
        self.images = self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether not even one more image is accepted."""
        return self.images >= self.max_images

    @contextmanager
    def take(self, images: int, size: int) -> Iterator[None]:
        """Hold capacity for `images` images of `size` bytes in total.

        Raises Problem 413 if the service can never hold that many, 429 if it cannot hold them now.
        """
        if images > self.max_images:
            raise Problem(413, f"The request has {counted(images, 'image')}; the limit is {self.max_images:,}.")
        if self.images + images > self.max_images:
            raise refusal()
        with self.holding() as hold:
            hold(size)
            self.images += images
            try:
                yield
            finally:
                self.images -= images

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], int]]:
        """Yield a function that adds bytes and returns the total held here; it raises Problem 429 beyond the limit."""
        held = 0

        def hold(size: int) -> int:
            nonlocal held
            if self.bytes + size > self.max_bytes:
                raise refusal()
            self.bytes += size
            held += size
            return held

        try:
            yield hold
        finally:
            self.bytes -= held


def refusal() -> Problem:
    """The response to a request that finds the service full."""
    return Problem(429, "The service is full: retry in a second.", {"retry-after": str(RETRY_AFTER)})
