"""Parameter groups, optimisers and learning-rate schedules."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.models.layers import last_layer
from darkroom.train.config import TrainConfig
from darkroom.train.layers import decay_factors, layer_weights
from darkroom.train.sharding import part_of, whole

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration: Jordan et al., "Muon", 2024


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonalised updates, for convolutions and matrices.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. An update is scaled by
    0.2 sqrt(max(rows, columns)), so that its root mean square is about AdamW's and one learning rate fits both: Liu et
    al., "Muon is scalable for LLM training", arXiv 2502.16982. torch.optim.Muon takes only matrices.
    """

    def __init__(self, parameters, lr: float, momentum: float, weight_decay: float):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step along the accumulated gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                average = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalise(whole(weight.grad.lerp(average, group["momentum"])).flatten(1))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                scale = -0.2 * math.sqrt(max(update.shape)) * group["lr"]
                weight.add_(part_of(update.view(weight.shape), weight), alpha=scale)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximate U V^T of the singular value decomposition U S V^T of `matrix` (R, C): (R, C) float32.

    By Newton-Schulz iterations in bfloat16, which need only matrix products; the singular values end near 1.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float()


class Optimisers:
    """One or two optimisers that step together, with a learning rate that is set for each step."""

    def __init__(self, network: nn.Module, settings: TrainConfig):
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        heads = layer_weights(last_layer(network))
        others = {id(weight) for weight in heads}
        matrices = [weight for weight in layer_weights(network) if id(weight) not in others]
        chosen = {id(parameter) for parameter in heads + matrices}
        vectors = [parameter for parameter in trained if id(parameter) not in chosen]  # biases, norms, positions
        decay, factor = settings.weight_decay, decay_factors(network, settings.layer_decay)

        def groups(decayed: list[Tensor], others: list[Tensor]) -> list[dict[str, Any]]:
            return [*_groups(decayed, decay, factor), *_groups(others, 0.0, factor)]

        if settings.optimizer == "sgd":
            both = groups(matrices + heads, vectors)
            self.members = [torch.optim.SGD(both, settings.lr, settings.momentum, nesterov=settings.momentum > 0)]
        elif settings.optimizer == "adamw":
            self.members = [torch.optim.AdamW(groups(matrices + heads, vectors), settings.lr)]
        else:
            self.members = [torch.optim.AdamW(groups(heads, vectors), settings.lr, betas=(0.9, 0.95))]
            if matrices:  # none if only the last layer is trained
                self.members.insert(0, Muon(groups(matrices, []), settings.lr, settings.momentum, decay))
        self.parameters = trained

    def step(self, lr: float, scaler: torch.amp.GradScaler) -> bool:
        """Take one step of every member at the learning rate `lr`; return whether it was taken.

        Parameters without a gradient stay as they are. With an enabled `scaler`, all members skip the step if any fp16
        gradient has overflowed.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        overflowed = (
            scaler.is_enabled() and not torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        )
        for member in self.members:
            for group in member.param_groups:
                group["lr"] = lr * group["factor"]
            if not overflowed and any(
                parameter.grad is not None for group in member.param_groups for parameter in group["params"]
            ):
                scaler.step(member)
        scaler.update()
        return not overflowed

    def clear_gradients(self) -> None:
        """Free the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def bytes(self) -> int:
        """The size of the optimisers' state, once a step was taken."""
        states = (entries for member in self.members for entries in member.state.values())
        return sum(tensor.numel() * tensor.element_size() for entries in states for tensor in entries.values())


def _groups(parameters: list[Tensor], weight_decay: float, factor: Mapping[Tensor, float]) -> list[dict[str, Any]]:
    """Parameter groups with one factor of the learning rate each, in the order of the network."""
    groups: dict[float, list[Tensor]] = {}
    for parameter in parameters:
        groups.setdefault(factor[parameter], []).append(parameter)
    return [{"params": found, "weight_decay": weight_decay, "factor": rate} for rate, found in groups.items()]


def schedule(settings: TrainConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate as a function of the step, counted from 0 over the whole training.

    After the linear warm-up: constant, cosine decay to 0 (Loshchilov and Hutter, "SGDR", ICLR 2017), or linear decay to
    0 (Smith, "Super-convergence", 2018).
    """
    total = round(settings.epochs * steps_per_epoch)
    warmup = round(settings.warmup_fraction * total)

    def rate(step: int) -> float:
        if step < warmup:
            return settings.lr * (step + 1) / warmup
        progress = (step - warmup) / max(1, total - warmup)
        if settings.schedule == "cosine":
            return settings.lr * (1 + math.cos(math.pi * progress)) / 2
        return settings.lr * (1 - progress) if settings.schedule == "linear" else settings.lr

    return rate
