"""The saved state of a training, so that an interrupted training resumes and gives the same result bit for bit.

The state is not an output of DVC. Its file name is a hash of everything that determines the training. If any of that
changes, the training starts from the beginning, never from an old state.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_file
from darkroom.models.checkpoints import Description, separate
from darkroom.train.fingerprint import fingerprint
from darkroom.train.state import State
from darkroom.train.trainer import Trainer

FOLDER = Path(".darkroom/resume")
SHARING = ("processes", "parallel")  # parameters of how the work is shared
KEPT = 3  # newest states of other trainings that are kept: a user may return to an interrupted one


class Resume:
    """The saved state of the one training that `description` determines."""

    def __init__(self, description: Description):
        self.key = _key(description)
        self.path = FOLDER / f"{self.key}.safetensors"

    def restore(self, trainer: Trainer) -> bool:
        """Restore the saved state into `trainer` if there is one; return whether there was.

        Of several processes the first one reads it. Raises DarkroomError if the state is damaged or belongs to another
        training.
        """
        with self._explained():
            state = self._read() if trainer.processes.is_first else None
        state = trainer.processes.share_state(state)
        if state is None:
            return False
        with self._explained():
            trainer.restore(*state)
        return True

    def _read(self) -> State | None:
        _remove_leftovers()
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata()
        if metadata["key"] != self.key:
            raise ValueError("it belongs to another training")
        return load_file(self.path), json.loads(metadata["values"])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise DarkroomError, with advice, for an error of a state that cannot be read or does not fit."""
        try:
            yield
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DarkroomError(
                f"The saved training state {self.path} cannot be used ({error}): delete it to start from the beginning."
            ) from error

    def save(self, trainer: Trainer) -> None:
        """Replace the saved state by that of `trainer`, atomically; remove the oldest states of other trainings.

        Of several processes, which must all call this, the first one writes.
        """
        tensors, values = trainer.state()
        if not trainer.processes.is_first:
            return
        with new_file(self.path) as temporary:
            # Not save_file, which hides the system's error when the disk is full.
            metadata = {"key": self.key, "values": json.dumps(values)}
            temporary.write_bytes(to_bytes(separate(tensors), metadata))
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
    """A key for all that determines the training.

    Not for the processes that share the work: a training may be resumed with another number of them.
    """
    train = {name: value for name, value in description.params.get("train", {}).items() if name not in SHARING}
    values = {**asdict(description), "params": {**description.params, "train": train}}
    return fingerprint(values, torch.device(description.params["device"]))
