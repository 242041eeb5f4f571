"""The stages of the pipeline, a script each: `python -m stages.train`."""

import os

from darkroom.stage import guard

if "DVC_STAGE" in os.environ:
    guard(os.environ["DVC_STAGE"])  # here, because loading PyTorch takes seconds in which someone may press Ctrl-C
