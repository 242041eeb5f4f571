"""The stages of the pipeline, one script each: `python -m stages.train`."""

import os

from darkroom.core.stage import guard

if "DVC_STAGE" in os.environ:
    guard(os.environ["DVC_STAGE"])  # before PyTorch is loaded, which takes seconds in which someone may press Ctrl-C
