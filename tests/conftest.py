"""Settings for all tests."""

import os

# Tiny networks are slower on two threads than on one. Must be set before PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines differ: no test asserts a time
settings.load_profile("untimed")
