"""Memory that decoding large pictures took goes back to the system once they are done; what onnxruntime took is bundle.run's to give back."""

import ctypes

_M_MMAP_THRESHOLD = -3  # of mallopt(3)
_LARGE = 2**20  # bytes


def return_large_blocks() -> None:
    """Tells glibc to ask the system for each large block and to give it back; without glibc nothing is done.

    By itself glibc takes the first large block that is freed for the usual size and keeps the next ones: after a few pictures of
    50 million pixels a process would hold 0.6 GB for good. What is smaller stays with glibc, for the next one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
