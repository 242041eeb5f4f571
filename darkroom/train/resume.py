"""The saved state of a training, so that an interrupted training resumes and gives the same result bit for bit.

The state is not an output of DVC. Its file name is a hash of everything that determines the training. If any of that
changes, the training starts from the beginning, never from an old state.
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
KEPT = 3  # newest states of other trainings that are kept: a user may return to an interrupted one

_ROOT = Path(__file__).resolve().parents[2]


class Resume:
    """The saved state of the one training that `description` determines."""

    def __init__(self, description: Description):
        self.key = _key(description)
        self.path = FOLDER / f"{self.key}.safetensors"

    def restore(self, trainer: Trainer) -> bool:
        """Restore the saved state into `trainer` if there is one; return whether there was.

        Raises DarkroomError if the state is damaged or belongs to another training.
        """
        _remove_leftovers()
        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
            if metadata["key"] != self.key:
                raise ValueError("it belongs to another training")
            trainer.restore(load_file(self.path), json.loads(metadata["values"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DarkroomError(
                f"The saved training state {self.path} cannot be used ({error}): delete it to start from the beginning."
            ) from error
        return True

    def save(self, trainer: Trainer) -> None:
        """Replace the saved state by that of `trainer`, atomically; remove the oldest states of other trainings."""
        tensors, values = trainer.state()
        with new_file(self.path) as temporary:
            on_cpu = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
            # Not save_file, which hides the system's error when the disk is full.
            temporary.write_bytes(to_bytes(on_cpu, {"key": self.key, "values": json.dumps(values)}))
        others = (path for path in FOLDER.glob("[!.]*.safetensors") if path != self.path)
        for path in sorted(others, key=lambda path: path.stat().st_mtime)[:-KEPT]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the saved state, once the results of the training are written."""
        self.path.unlink(missing_ok=True)
        _remove_leftovers()


def _remove_leftovers() -> None:
    """Remove the partial files of killed trainings; only one training runs in a project at a time."""
    for leftover in FOLDER.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def _key(description: Description) -> str:
    """A hash of the description, the loaded code, the versions of the libraries and the processor's features."""
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    code = {Path(file).resolve() for file in modules if file}
    ours = sorted(path for path in code if any(path.is_relative_to(_ROOT / room) for room in ("darkroom", "stages")))
    device = torch.device(description.params["device"])
    determinants = {
        **asdict(description),
        "code": {str(path.relative_to(_ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in ours},
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
    return hashlib.blake2b(json.dumps(determinants, sort_keys=True).encode(), digest_size=16).hexdigest()
