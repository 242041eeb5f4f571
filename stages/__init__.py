"""The stages of the pipeline, one script each: `python -m stages.train`."""

import os

from darkroom.core.stage import guard

if "DVC_STAGE" in os.environ:
    guard(os.environ["DVC_STAGE"])  # first of all: a script imports PyTorch for seconds, and Ctrl-C may come then
