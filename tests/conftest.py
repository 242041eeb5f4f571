"""Settings for all tests."""

import os
import sys

# Tiny networks are slower on two threads than on one. Must be set before PyTorch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines differ: no test asserts a time
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _one_thread():
    """Undo what a test's stages did to the number of threads: sums in another order have other bits."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
