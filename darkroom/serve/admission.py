"""How much the service takes on at once. What is more is refused before any work is done for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from darkroom.serve.problems import Problem

RETRY_AFTER = 1  # seconds


class Admission:
    """Counts the pictures in the service, waiting or worked on, and the bytes that it holds of requests. For the event loop's thread alone."""

    def __init__(self, max_pictures: int, max_bytes: int):
        self.max_pictures, self.max_bytes = max_pictures, max_bytes
        self.pictures = self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether not even one picture more is taken."""
        return self.pictures >= self.max_pictures

    @contextmanager
    def take(self, pictures: int, size: int) -> Iterator[None]:
        """Holds room for so many pictures of `size` bytes; raises Problem 413 where there never is so much, 429 where there is not now."""
        if pictures > self.max_pictures:
            raise Problem(
                413, f"The request holds {pictures:,} pictures; at most {self.max_pictures:,} are taken at once."
            )
        if self.pictures + pictures > self.max_pictures:
            raise refusal()
        with self.holding() as hold:
            hold(size)
            self.pictures += pictures
            try:
                yield
            finally:
                self.pictures -= pictures

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], int]]:
        """Yields a function that takes in so many bytes more and returns how many they are now; it raises Problem 429 where that is too much."""
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
    """What a request gets that finds the service full."""
    return Problem(429, "The service is full: try again in a second.", {"retry-after": str(RETRY_AFTER)})
