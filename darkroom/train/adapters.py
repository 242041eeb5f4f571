"""Adapters: low-rank matrices beside frozen weights, by Hugging Face's peft; merged into the weights at the end.

LoRA: Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022. AdaLoRA learns how much rank each
layer needs: Zhang et al., "Adaptive budget allocation for parameter-efficient fine-tuning", ICLR 2023.
"""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

import peft
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from darkroom.core.errors import DarkroomError
from darkroom.models.layers import last_layer
from darkroom.models.sequences import example
from darkroom.train.config import LoraConfig, TrainConfig
from darkroom.train.tuning import Tuning

NAME = "default"  # of the adapter, as peft calls the only one
MIN_FRACTION = 0.1  # of the weights: if dense layers and 1 x 1 convolutions hold less, larger kernels are adapted too
WARMUP, SETTLED = 0.1, 0.4  # of AdaLoRA's steps: before the ranks are reduced, and after
ALLOCATIONS = 100  # times that AdaLoRA reduces the ranks, at most
SHOWN = 5  # names of layers in an error


class Adapters(Tuning):
    """Trains low-rank matrices beside the frozen weights of `network`, and its last layer in full."""

    def __init__(
        self,
        network: nn.Module,
        tuner: peft.LoraModel,
        config: peft.LoraConfig,
        settings: TrainConfig,
        steps_per_epoch: int,
    ):
        last_layer(tuner.model).requires_grad_(True)
        super().__init__(network, tuner.model, settings, steps_per_epoch)
        self.tuner, self.config = tuner, config
        trained = {name for name, parameter in self.network.named_parameters() if parameter.requires_grad}
        buffers = {name for name, _ in self.network.named_buffers()}
        self.changing = trained | buffers  # names of what the adapter's file holds
        self.layers = {name: layer for name, layer in self.network.named_modules() if hasattr(layer, "base_layer")}

    def merged(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Tuning.merged`: W + scale B A, for AdaLoRA W + scale B diag(E) A, in the shape of W."""
        found = {name.replace(".base_layer.", "."): one for name, one in weights.items() if not _is_adapter(name)}
        for name, layer in self.layers.items():
            part = {kind: weights.get(f"{name}.lora_{kind}.{NAME}") for kind in "ABE"}
            if part["E"] is None:
                right, left = (weights[f"{name}.lora_{kind}.{NAME}.weight"].flatten(1) for kind in "AB")
                scale = layer.scaling[NAME]
            else:
                right, left = part["A"] * part["E"], part["B"]
                scale = layer.scaling[NAME] / (weights[f"{name}.ranknum.{NAME}"] + 1e-5)  # as peft has it
            weight = found[f"{name}.weight"]
            found[f"{name}.weight"] = weight + (left @ right * scale).view(weight.shape)
        return found

    def files(self, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
        """The adapter with the last layer and the batch norms' statistics, under peft's names, and peft's settings."""
        kept = {
            f"base_model.model.{name.replace(f'.{NAME}', '')}": tensor.contiguous()
            for name, tensor in weights.items()
            if name in self.changing
        }
        fields = self.config.to_dict() | {"inference_mode": True}
        if "target_r" in fields:
            fields["rank_pattern"] = None  # the file holds all ranks; those that were removed are zero
        settings = json.dumps(fields, indent=2, sort_keys=True, default=sorted)
        return {"adapter.safetensors": to_bytes(kept), "adapter_config.json": settings.encode()}


class AdaptiveAdapters(Adapters):
    """Adapters whose ranks are reduced where they matter least, to a budget for the whole network."""

    def after_backward(self) -> None:
        """Add the gradients of the penalty that keeps the matrices orthogonal, so that ranks can be compared."""
        if self.is_frozen:
            return
        matrices = [matrices[NAME] for layer in self.layers.values() for matrices in (layer.lora_A, layer.lora_B)]
        ranks = torch.eye(self.config.init_r, device=matrices[0].device)
        grams = [right @ right.T for right in matrices[::2]] + [left.T @ left for left in matrices[1::2]]
        norms = [torch.linalg.matrix_norm(gram - ranks) for gram in grams]
        penalty = self.config.orth_reg_weight * torch.stack(norms).mean()
        for matrix, gradient in zip(matrices, torch.autograd.grad(penalty, matrices), strict=True):
            matrix.grad.add_(gradient)

    def after_step(self, step: int) -> None:
        """Measure how much each rank matters, and reduce the ranks by the schedule."""
        if not self.is_frozen:
            self.tuner.update_and_allocate(step - self.frozen_steps)

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """See `Tuning.state`: moving averages of the importance of each weight, and which ranks are left."""
        allocator = self.tuner.rankallocator
        averages = {"importance": allocator.exp_avg_ipt, "uncertainty": allocator.exp_avg_unc}
        tensors = {f"{kind}/{name}": tensor for kind, found in averages.items() for name, tensor in found.items()}
        return tensors, self.config.rank_pattern

    def restore(self, tensors: Mapping[str, Tensor], values: Any) -> None:
        """See `Tuning.restore`."""
        allocator = self.tuner.rankallocator
        allocator.reset_ipt()
        parameters = dict(self.network.named_parameters())
        for path, tensor in tensors.items():
            kind, name = path.split("/")
            averages = allocator.exp_avg_ipt if kind == "importance" else allocator.exp_avg_unc
            averages[name] = tensor.to(parameters[name].device)
        allocator.ipt = {name: torch.zeros_like(tensor) for name, tensor in allocator.exp_avg_ipt.items()}
        self.config.rank_pattern = values


def build(
    network: nn.Module, settings: TrainConfig, shape: tuple[int, ...], steps: int, steps_per_epoch: int
) -> Adapters:
    """Put adapters beside the layers of a copy of `network`, for inputs of `shape`, channels last.

    Draws the initial matrices from PyTorch's global generator; at first they change no output. Raises DarkroomError if
    there are no layers for them.
    """
    chosen = settings.lora
    common = {
        "lora_alpha": chosen.alpha,
        "lora_dropout": chosen.dropout,
        "target_modules": "|".join(map(re.escape, targets(network, shape, chosen))),
    }
    copied = copy.deepcopy(network)
    if settings.tune == "lora":
        config = peft.LoraConfig(r=chosen.rank, **common)
        return Adapters(network, peft.LoraModel(copied, config, NAME), config, settings, steps_per_epoch)
    total = max(1, steps - round(settings.freeze_epochs * steps_per_epoch))
    config = peft.AdaLoraConfig(
        target_r=chosen.rank,
        init_r=max(chosen.rank + 1, round(1.5 * chosen.rank)),
        total_step=total,
        tinit=int(WARMUP * total),
        tfinal=int(SETTLED * total),
        deltaT=max(1, total // ALLOCATIONS),
        **common,
    )
    return AdaptiveAdapters(network, peft.AdaLoraModel(copied, config, NAME), config, settings, steps_per_epoch)


def targets(network: nn.Module, shape: tuple[int, ...], chosen: LoraConfig) -> list[str]:
    """The names of the layers that get adapters, by `chosen.targets`.

    "auto" means dense layers and 1 x 1 convolutions, which hold attention and MLPs of Transformers and most weights of
    modern convolutional networks; of networks with few of these also the other convolutions. It leaves out layers that
    are smaller than their adapter would be. Raises DarkroomError if none is left.
    """
    possible = adaptable(network, shape)
    if chosen.targets != "auto":
        found = [name for name in possible if re.fullmatch(chosen.targets, name)]
        reason = f"train.lora.targets = {chosen.targets!r}: matches no layer that can have an adapter"
    else:
        worth = {
            name: layer
            for name, layer in possible.items()
            if chosen.rank * sum(layer.weight.flatten(1).shape) < layer.weight.numel()
        }
        narrow = [name for name, layer in worth.items() if layer.weight.flatten(1).shape[1] == layer.weight.shape[1]]
        held = sum(worth[name].weight.numel() for name in narrow)
        is_enough = held >= MIN_FRACTION * sum(layer.weight.numel() for layer in worth.values())
        found = narrow if is_enough else list(worth)
        reason = f"train.lora.rank = {chosen.rank}: every layer that can have an adapter is smaller than that"
    if found:
        return found
    names = [*list(possible)[:SHOWN], *(["..."] if len(possible) > SHOWN else [])]
    raise DarkroomError(
        f"{reason} ({', '.join(names) or 'this network has none'}); change it, or set train.tune = all."
    )


def adaptable(network: nn.Module, shape: tuple[int, ...]) -> dict[str, nn.Module]:
    """The trained dense layers and convolutions without groups or dilation, by name; not the last layer.

    Leaves out layers that are never called: the projections of nn.MultiheadAttention, and others of which the network
    uses only the weights.
    """
    network_like = copy.deepcopy(network).to("meta").train()  # on "meta" nothing is computed
    called: set[str] = set()
    for name, layer in network_like.named_modules():
        layer.register_forward_pre_hook(lambda _, __, name=name: called.add(name))
    network_like(example(network, shape, 2, "meta"))
    last = last_layer(network)
    return {
        name: layer
        for name, layer in network.named_modules()
        if name in called and layer is not last and _is_adaptable(layer) and layer.weight.requires_grad
    }


def _is_adaptable(layer: nn.Module) -> bool:
    """Whether peft can adapt the layer and merge; subclasses may use their weights in other ways."""
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return type(layer) is nn.Linear


def _is_adapter(name: str) -> bool:
    return ".lora_" in name or ".ranknum." in name
