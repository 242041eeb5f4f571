"""Random numbers that depend on a seed and on counters, never on what was drawn before.

What an epoch shows is a function of (seed, epoch, step, purpose) alone, so it is the same whether the run was resumed,
whether batches were prefetched, and whichever device computes. Philox-like in spirit: Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011; here the counters are hashed into the seed of an ordinary generator.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, *counters: int | str) -> int:
    """A seed of 63 bits for the stream that `counters` name, independent of every other stream of `seed`."""
    digest = hashlib.blake2b(repr((seed, *counters)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(seed: int, *counters: int | str) -> np.random.Generator:
    """NumPy's generator for the stream that `counters` name."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *counters)))
