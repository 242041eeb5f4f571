"""Random numbers that depend on a seed and on counters, never on earlier draws.

The batches of an epoch depend on (seed, epoch, step, purpose) only: they are the same if the run was resumed, if
batches were prefetched, and on any device. The idea is that of counter-based generators (Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011); here the counters are hashed into the seed of an ordinary generator.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, *counters: int | str) -> int:
    """Derive a 63-bit seed for the stream that `counters` name, independent of every other stream of `seed`."""
    digest = hashlib.blake2b(repr((seed, *counters)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(seed: int, *counters: int | str) -> np.random.Generator:
    """A NumPy generator for the stream that `counters` name."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *counters)))
