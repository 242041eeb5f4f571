"""The library behind the stages: a noun a file."""

import os

os.environ.setdefault(
    "ORT_DISABLE_TELEMETRY", "1"
)  # else ONNX Runtime, once it is imported, tells its makers what it runs
