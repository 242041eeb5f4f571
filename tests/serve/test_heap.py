"""Test that freed memory returns to the system."""

import subprocess
import sys

PROGRAM = """
import ctypes, psutil
from darkroom.serve.heap import return_large_blocks
return_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = psutil.Process().memory_info().rss
for _ in range(3):
    blocks = [ctypes.c_void_p(libc.malloc(2**24)) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 2**24)
    for block in reversed(blocks[1:]):  # the first block would keep the heap from shrinking
        libc.free(block)
print((psutil.Process().memory_info().rss - before) / 2**24)
"""


def test_large_blocks_are_returned():
    kept = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    assert float(kept) < 4  # of twelve blocks, three are still held
