"""What the last layer of a network sees: computed once, so that this layer alone can be trained in seconds."""

import fcntl
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_file, write_array
from darkroom.models.inference import predict
from darkroom.models.layers import last_layer, last_layer_name
from darkroom.train.fingerprint import fingerprint

FOLDER = Path(".darkroom/features")
KEPT = 4  # files last used that are kept: training and validation split of two trainings
CODE = ("darkroom/models", "darkroom/train/features.py")  # what the features depend on
_BLOCK = 2000  # inputs whose features are in memory at a time


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
        if not torch.isfinite(logits).all():
            raise DarkroomError(
                "The network gives logits that are not finite for these images, so its features cannot be used: choose "
                "other weights (model.pretrained)."
            )
        if not torch.equal(last(found[-1]), logits):
            raise DarkroomError(
                "The logits of this network are not the output of its last layer alone, so its features cannot be "
                "used: set train.tune to all or lora, and use `python -m darkroom.acquire --features images`."
            )
        return found[-1]


def compute(network: nn.Module, built: Mapping[str, Any], split: Split, manifest: Manifest) -> Split:
    """The split with its features (N, D) float32 as inputs, memory-mapped; the network must be on its device.

    `built` is what the network was built from, its family and arguments. The features are kept in .darkroom/features,
    so that a training with another seed or learning rate starts at once.
    """
    path = FOLDER / f"{_key(network, built, split, manifest)}.npy"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FOLDER.with_suffix(".lock").open("a") as lock:  # of two processes that need the same, the second waits for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in FOLDER.glob(f"{TEMPORARY}*"):  # of killed trainings
            leftover.unlink(missing_ok=True)
        try:
            features = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            _write(path, network, split, manifest)
            features = np.load(path, mmap_mode="r", allow_pickle=False)
        path.touch()
        used = sorted(FOLDER.glob("[!.]*.npy"), key=lambda other: (other.stat().st_mtime_ns, other == path))
        for old in used[:-KEPT]:
            old.unlink(missing_ok=True)
    return Split(features, split.labels, split.ids)


def _write(path: Path, network: nn.Module, split: Split, manifest: Manifest) -> None:
    """Write the features block by block, atomically: they may be larger than the memory."""
    extractor = _Features(network)
    starts = tqdm(range(0, len(split), _BLOCK), "features", unit="block", leave=False, disable=None)
    with new_file(path) as temporary:
        parts = (split.inputs[start : start + _BLOCK] for start in starts)
        write_array(temporary, len(split), (predict(extractor, part, manifest.mean, manifest.std) for part in parts))


def _key(network: nn.Module, built: Mapping[str, Any], split: Split, manifest: Manifest) -> str:
    """A key for everything that determines the features: not the last layer, which the seed draws."""
    weights = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        if not name.startswith(f"{last_layer_name(network)}."):
            weights.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            weights.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    determinants = {
        "built": dict(built),
        "weights": weights.hexdigest(),
        "normalisation": [*manifest.mean, *manifest.std],
        "data": manifest.sha256,
        "inputs": hashlib.blake2b(json.dumps(split.ids.tolist()).encode(), digest_size=16).hexdigest(),
        "shape": split.inputs.shape,
        "threads": torch.get_num_threads(),
    }
    return fingerprint(determinants, next(network.parameters()).device, CODE)
