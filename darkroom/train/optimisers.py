"""Parameter groups, optimisers and learning-rate schedules."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.models.layers import last_layer
from darkroom.train.config import TrainConfig
from darkroom.train.cuda_graphs import Captured
from darkroom.train.layers import decay_factors, layer_weights
from darkroom.train.sharding import is_sharded, part_of, whole

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration: Jordan et al., "Muon", 2024


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonalised updates, for convolutions and matrices.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. An update is scaled by
    0.2 sqrt(max(rows, columns)), so that its root mean square is about AdamW's and one learning rate fits both: Liu et
    al., "Muon is scalable for LLM training", arXiv 2502.16982. torch.optim.Muon takes only matrices.
    """

    def __init__(self, parameters, lr: float, momentum: float, weight_decay: float, dtype: torch.dtype = torch.float32):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype  # of the orthogonalisation
        self.captured = Captured()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step along the accumulated gradients."""
        compute = partial(orthogonalise_all, dtype=self.dtype)
        for group in self.param_groups:
            found = [weight for weight in group["params"] if weight.grad is not None]
            is_captured = _are_on_gpu(found)
            for weights in [found] if is_captured else [[weight] for weight in found]:
                gradients, averages = [weight.grad for weight in weights], [self._average(weight) for weight in weights]
                torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
                blended = [gradient.clone() for gradient in gradients]
                torch._foreach_lerp_(blended, averages, group["momentum"])
                matrices = [whole(one).flatten(1) for one in blended]
                updates = self.captured(compute, *matrices) if is_captured else compute(*matrices)
                torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
                for weight, update in zip(weights, updates, strict=True):
                    scale = -0.2 * math.sqrt(max(update.shape)) * group["lr"]
                    weight.add_(part_of(update.view(weight.shape), weight), alpha=scale)

    def _average(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        return state["momentum"]


def _are_on_gpu(weights: Sequence[Tensor]) -> bool:
    """Whether there are weights, and a CUDA GPU holds them whole: then few kernels for all of them are fastest."""
    return len(weights) > 0 and weights[0].is_cuda and not is_sharded(weights[0])


def orthogonalise_all(*matrices: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """`orthogonalise` each of the matrices (R, C); those of one shape together."""
    found: dict[torch.Size, list[int]] = {}
    for index, matrix in enumerate(matrices):
        found.setdefault(matrix.shape, []).append(index)
    results: dict[int, Tensor] = {}
    for indices in found.values():
        if len(indices) == 1:
            results[indices[0]] = orthogonalise(matrices[indices[0]], dtype)
        else:
            stacked = torch.stack([matrices[index] for index in indices])
            results |= zip(indices, orthogonalise(stacked, dtype), strict=True)
    return [results[index] for index in range(len(matrices))]


def orthogonalise(matrix: Tensor, dtype: torch.dtype, steps: int = 5) -> Tensor:
    """Approximate U V^T of the singular value decomposition U S V^T of `matrix` (..., R, C): (..., R, C) float32.

    By Newton-Schulz iterations, which need only matrix products; the singular values end near 1. In bfloat16 each
    iteration multiplies the matrix. In float32 they multiply only its Gram matrix, which is a ninth as large for a
    3 x 3 convolution; bfloat16 is not exact enough for that.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    if tall := x.shape[-2] > x.shape[-1]:
        x = x.mT
    if dtype == torch.bfloat16:
        for _ in range(steps):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
    else:
        gram = x @ x.mT
        product = identity = torch.eye(x.shape[-2], device=x.device)
        for _ in range(steps):
            factor = a * identity + b * gram + c * gram @ gram
            product, gram = factor @ product, factor @ gram @ factor
        x = product @ x
    return (x.mT if tall else x).float()


class Optimisers:
    """One or two optimisers that step together, with a learning rate that is set for each step."""

    def __init__(self, network: nn.Module, settings: TrainConfig, precision: torch.dtype = torch.float32):
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
            fused = {"fused": True} if _are_on_gpu(trained) else {}  # one kernel for all of these small tensors
            self.members = [torch.optim.AdamW(groups(heads, vectors), settings.lr, betas=(0.9, 0.95), **fused)]
            if matrices:  # none if only the last layer is trained
                dtype = torch.bfloat16 if precision == torch.bfloat16 else torch.float32
                self.members.insert(0, Muon(groups(matrices, []), settings.lr, settings.momentum, decay, dtype))
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
