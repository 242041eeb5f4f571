"""The library behind the stages; one room (folder) per purpose."""

import os

# Without this, ONNX Runtime sends usage data to its publisher once it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
