"""Open the trained model together with the data that it was trained on."""

from dataclasses import dataclass

import torch
from torch import nn

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.models import checkpoints, hardware
from darkroom.models.checkpoints import Description


@dataclass(frozen=True)
class Trained:
    """The network in models/trained, and the data in data/arrays."""

    network: nn.Module  # on the CPU, in evaluation mode
    description: Description
    manifest: Manifest
    threads: int  # CPU threads that PyTorch uses

    @property
    def device(self) -> torch.device:
        """A GPU if there is one, unless the network was trained with `train.device = cpu`."""
        return hardware.choose_device("cpu" if self.description.params["device"] == "cpu" else "auto")

    def split(self, name: str) -> Split:
        """One split of the data: train, val or test."""
        return arrays.read_split("data/arrays", name)


def open_trained() -> Trained:
    """Load models/trained and the manifest of data/arrays, and let PyTorch use one CPU thread per core.

    Raises DarkroomError if either is missing or damaged, or if the model was trained on other data.
    """
    threads = hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    checkpoints.require_same_data(description, manifest)
    return Trained(network, description, manifest, threads)
