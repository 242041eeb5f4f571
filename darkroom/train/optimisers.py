"""Parameter groups, optimisers and learning-rate schedules."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from darkroom.models.layers import last_layer
from darkroom.train.config import TrainConfig

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.RNNBase, nn.MultiheadAttention)  # layers that multiply inputs by weights
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
                update = orthogonalise(weight.grad.lerp(average, group["momentum"]).flatten(1))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-0.2 * math.sqrt(max(update.shape)) * group["lr"])


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
        decay = settings.weight_decay
        if settings.optimizer == "sgd":
            groups = [{"params": matrices + heads, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
            self.members = [torch.optim.SGD(groups, settings.lr, settings.momentum, nesterov=settings.momentum > 0)]
        elif settings.optimizer == "adamw":
            groups = [{"params": matrices + heads, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
            self.members = [torch.optim.AdamW(groups, settings.lr)]
        else:
            groups = [{"params": heads, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
            self.members = [torch.optim.AdamW(groups, settings.lr, betas=(0.9, 0.95))]
            if matrices:  # none if only the last layer is trained
                self.members.insert(0, Muon(matrices, settings.lr, settings.momentum, decay))
        self.parameters = trained

    def step(self, lr: float, scaler: torch.amp.GradScaler) -> None:
        """Take one step of every member at the learning rate `lr`, and clear the gradients.

        With an enabled `scaler`, all members skip the step if any fp16 gradient has overflowed.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        overflowed = (
            scaler.is_enabled() and not torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        )
        for member in self.members:
            for group in member.param_groups:
                group["lr"] = lr
            if not overflowed:
                scaler.step(member)
            member.zero_grad(set_to_none=True)
        scaler.update()


def layer_weights(network: nn.Module) -> list[Tensor]:
    """The trained weights of convolutions and of dense, recurrent and attention layers; not their biases."""
    layers = (layer for layer in network.modules() if isinstance(layer, LAYERS))
    weights = (weight for layer in layers for weight in layer.parameters(recurse=False))
    return [weight for weight in weights if weight.ndim >= 2 and weight.requires_grad]


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
