"""Settings for all tests."""

import os
import sys
import tempfile

# Tiny networks are slower on two threads than on one. Must be set before PyTorch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

# Nothing that is set around the tests changes them. They talk to servers on this machine only, and sign no commit.
for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "DARKROOM_API_KEY", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)
os.environ |= {"NO_PROXY": "*", "no_proxy": "*"}
_GIT = {"commit.gpgSign": "false", "tag.gpgSign": "false", "core.hooksPath": os.devnull}
for number, (name, value) in enumerate(_GIT.items(), int(os.environ.get("GIT_CONFIG_COUNT", "0"))):
    os.environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    os.environ["GIT_CONFIG_COUNT"] = str(number + 1)
if not os.access(os.path.expanduser("~"), os.W_OK):
    os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp(prefix="matplotlib-"))  # otherwise it prints a warning

# Machines differ, so no test asserts a time. Property tests draw new examples on each run, except in CI: there a change
# must not fail on an example that another run of the same code does not draw.
settings.register_profile("darkroom", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("darkroom")


@pytest.fixture(autouse=True)
def _repeatable():
    """A test's result doesn't depend on those before it: on their draws, or on the threads that their stages set."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    yield  # sums in another order have other bits
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
