"""The networks of a teacher, ready to answer: verified, in evaluation mode, without gradients."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor, nn
from torch.nn.functional import interpolate, log_softmax

from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.models.config import ModelConfig
from darkroom.models.registry import build
from darkroom.teachers.descriptions import Network, Teacher


class Member(nn.Module):
    """A network that takes inputs of another normalisation and image size than its own."""

    def __init__(self, network: nn.Module, own: Network, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network, self.size = network, own.shape[:-1]
        # (x s + m - m') / s' for inputs x that were normalised by m and s; a constant channel is only centred
        given, wanted = (torch.tensor([s or 1.0 for s in scales], dtype=torch.float64) for scales in (std, own.std))
        offset = torch.tensor([m - n for m, n in zip(mean, own.mean, strict=True)], dtype=torch.float64) / wanted
        self.is_same = tuple(mean) == own.mean and tuple(std) == own.std
        axes = (-1, *(1 for _ in self.size))
        self.register_buffer("scale", (given / wanted).float().view(axes), persistent=False)
        self.register_buffer("offset", offset.float().view(axes), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, K) of inputs (N, C, ...) float32."""
        if not self.is_same:
            inputs = torch.addcmul(self.offset, inputs, self.scale)
        if inputs.shape[2:] != self.size:
            inputs = interpolate(inputs, self.size, mode="bilinear", antialias=True)
        return self.network(inputs)


class Ensemble(nn.Module):
    """Members that answer together."""

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, inputs: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probabilities (N, K) float32 of inputs (N, C, ...), of logits that are divided by `temperature`.

        Those of the arithmetic mean of the members' probabilities: Hinton et al., "Distilling the knowledge in a neural
        network", 2015, section 1.
        """
        each = torch.stack([log_softmax(member(inputs).float() / temperature, 1) for member in self.members])
        return each[0] if len(each) == 1 else each.logsumexp(0) - math.log(len(each))


def load(folder: Path, teacher: Teacher, manifest: Manifest) -> Ensemble:
    """The teacher in `folder` on the CPU, for inputs of the shape and normalisation of `manifest`.

    Draws no random numbers from PyTorch's generators. Raises DarkroomError if a file was changed or does not fit its
    description, or if it needs inputs of another number of channels.
    """
    with torch.random.fork_rng(devices=[]):
        return Ensemble([_member(folder, teacher, network, manifest) for network in teacher.networks])


def _member(folder: Path, teacher: Teacher, own: Network, manifest: Manifest) -> Member:
    channels, given = own.shape[-1], manifest.shape[-1]
    if channels != given or len(own.shape) != len(manifest.shape):
        color = {1: ": set preprocess.color = grey", 3: ": set preprocess.color = rgb"}.get(channels, "")
        needs = f"needs images of {counted(channels, 'channel')}, but these have {given}"
        raise DarkroomError(f"The teacher {teacher.name!r} ({own}) {needs}{color}, or choose another teacher.")
    path = folder / own.file
    contents = _verified(path, own)
    try:
        ModelConfig.family(own.family).model_validate(own.arguments)
        network = build(own.family, own.arguments, own.shape, len(teacher.classes))
        network.load_state_dict(from_bytes(contents))
    except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        remedy = "its network may have changed since; train it and keep it again"
        raise DarkroomError(f"{path} is not the network that teacher.json describes ({reason}): {remedy}.") from None
    return Member(network, own, manifest.mean, manifest.std)


def _verified(path: Path, own: Network) -> bytes:
    """The contents of a file of weights; raises DarkroomError unless they have the described SHA-256."""
    restore = f"restore it (`dvc checkout {path.parent}`), or keep the teacher again"
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise DarkroomError(f"{path} cannot be read ({error}): {restore}.") from None
    found = hashlib.sha256(contents).hexdigest()
    if found != own.sha256:
        raise DarkroomError(f"{path} has the SHA-256 {found}, expected {own.sha256}: {restore}.")
    return contents
