"""Return the memory of decoded images to the system. bundle.classifier does the same for ONNX Runtime."""

import ctypes

_M_MMAP_THRESHOLD = -3  # mallopt(3)
_LARGE = 2**20  # bytes


def return_large_blocks() -> None:
    """Make glibc map each large block separately and unmap it when freed. Does nothing without glibc.

    By default glibc raises its threshold to the size of the first large block freed, and keeps later blocks: after a
    few images of 50 million pixels the process would hold 0.6 GB for good. Smaller blocks stay with glibc for reuse.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
