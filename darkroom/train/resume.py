"""A training's state on disk, so that the same command, killed at any moment, goes on where it was.

The state is no output of DVC's: it lies apart, under a name that is a hash of all that determines the training. Whatever
of this changes, the training starts afresh, and never from an old state.
"""

import hashlib
import json
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_file
from darkroom.models import hardware
from darkroom.models.checkpoints import Description
from darkroom.train.trainer import Trainer

FOLDER = Path(".darkroom/resume")
KEPT = 3  # states of other trainings, the newest: someone may go back to one that was interrupted

_ROOT = Path(__file__).resolve().parents[1]


class Resume:
    """The saved state of the one training that `description` determines."""

    def __init__(self, description: Description):
        self.key = _key(description)
        self.path = FOLDER / f"{self.key}.safetensors"

    def restore(self, trainer: Trainer) -> bool:
        """Sets `trainer` to the saved state, if there is one; returns whether there was.

        Raises DarkroomError where the state is damaged, or another training's.
        """
        _clear_leftovers()
        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
            if metadata["key"] != self.key:
                raise ValueError("it is another training's")
            trainer.restore(load_file(self.path), json.loads(metadata["values"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DarkroomError(
                f"The saved training state {self.path} cannot be used ({error}): delete it to start the training afresh."
            ) from error
        return True

    def save(self, trainer: Trainer) -> None:
        """Replaces the saved state by that of `trainer`, whole or not at all; clears the oldest of other trainings."""
        tensors, values = trainer.state()
        with new_file(self.path) as temporary:
            plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
            temporary.write_bytes(
                to_bytes(plain, {"key": self.key, "values": json.dumps(values)})
            )  # not save_file, which hides that a disk is full
        others = sorted(
            (path for path in FOLDER.glob("[!.]*.safetensors") if path != self.path),
            key=lambda path: path.stat().st_mtime,
        )
        for path in others[:-KEPT]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Clears the saved state, once the training's results are safe."""
        self.path.unlink(missing_ok=True)
        _clear_leftovers()


def _clear_leftovers() -> None:
    """Removes what killed trainings left half-written: of all trainings, since only one runs in a project at a time."""
    for leftover in FOLDER.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def _key(description: Description) -> str:
    """A hash of the determinants, the code that is loaded, the libraries' versions and the processor's abilities."""
    modules = {
        Path(module.__file__).resolve() for module in list(sys.modules.values()) if getattr(module, "__file__", None)
    }
    sources = sorted(
        path for path in modules if path.is_relative_to(_ROOT / "darkroom") or path.is_relative_to(_ROOT / "stages")
    )
    device = torch.device(description.params["device"])
    everything = {
        **asdict(description),
        "code": {str(path.relative_to(_ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sources},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy")},
        },
        "processor": [
            hardware.describe(device),
            platform.machine(),
            torch.backends.cpu.get_cpu_capability(),
            torch.get_num_threads(),
        ],
    }
    return hashlib.blake2b(json.dumps(everything, sort_keys=True).encode(), digest_size=16).hexdigest()
