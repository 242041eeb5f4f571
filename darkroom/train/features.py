"""What the last layer of a network sees: computed once, so that this layer alone can be trained in seconds."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_file
from darkroom.models.inference import predict
from darkroom.models.layers import last_layer

FOLDER = Path(".darkroom/features")
KEPT = 4  # newest files that are kept: training and validation split of two trainings


class _Features(nn.Module):
    """A network without its last layer."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (N, D) float32 of inputs (N, C, ...)."""
        found: list[Tensor] = []
        last = last_layer(self.network)
        hook = last.register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))
        logits = self.network(inputs)
        hook.remove()
        if not torch.equal(last(found[0]), logits):
            raise DarkroomError("train.tune = head: the last layer of this network is not linear: set it to all.")
        return found[0]


def compute(network: nn.Module, split: Split, mean: Sequence[float], std: Sequence[float], data_sha256: str) -> Split:
    """The split with its features (N, D) float32 as inputs; the network must be on its device.

    They are kept in .darkroom/features, by weights, normalisation and data, so that a training with another learning
    rate starts at once.
    """
    path = FOLDER / f"{_key(network, split, mean, std, data_sha256)}.npy"
    try:
        features = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        features = predict(_Features(network), split.inputs, mean, std)
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, features, allow_pickle=False)
        others = sorted(FOLDER.glob("[!.]*.npy"), key=lambda other: other.stat().st_mtime)
        for old in others[:-KEPT]:
            old.unlink(missing_ok=True)
    return Split(features, split.labels, split.ids)


def _key(network: nn.Module, split: Split, mean: Sequence[float], std: Sequence[float], data_sha256: str) -> str:
    """A hash of everything that determines the features besides code and hardware."""
    digest = hashlib.blake2b(json.dumps([*mean, *std, data_sha256, torch.__version__]).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(split.labels).tobytes() + json.dumps(split.ids.tolist()).encode())
    trained = {tensor.data_ptr() for tensor in last_layer(network).state_dict().values()}
    for name, tensor in network.state_dict().items():
        if tensor.data_ptr() not in trained:
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
