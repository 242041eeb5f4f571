"""The library behind the stages; one room (folder) per purpose."""

import os

# Without this, ONNX Runtime sends usage data to its publisher once it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# OpenMP threads that wait for each other keep a core busy (300,000 turns by default in GNU's library). With other work
# on the cores an epoch took 63.6 s; with 10,000 turns it takes 19.4 s, and no longer on an idle machine (8.6 s).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
