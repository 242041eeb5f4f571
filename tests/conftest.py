"""Settings for all tests."""

import os

# Tiny networks are slower on two threads than on one. Set before anything imports PyTorch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
