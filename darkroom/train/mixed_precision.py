"""The forward pass in bf16 or fp16, with fast gradients of depthwise convolutions in bf16 on a CPU.

oneDNN has no fast bf16 kernel for the input gradient of a depthwise convolution with a stride, nor for the weight
gradient of a large depthwise kernel: they took 70 % of a step of efficientnet_lite0. In float32 they are two to a
hundred times faster.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.overrides import TorchFunctionMode

LARGE = 3  # pixels per side: depthwise kernels above have a slow weight gradient in bf16


@contextmanager
def autocast(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """In the context, networks on `device` compute in `precision`; the backward pass belongs outside."""
    is_slow = device.type == "cpu" and precision == torch.bfloat16
    gradients = _Float32Gradients() if is_slow else nullcontext()
    with torch.autocast(device.type, precision, enabled=precision != torch.float32), gradients:
        yield


class _Float32Gradients(TorchFunctionMode):
    """While active, depthwise convolutions get gradients that are computed in float32 where bf16 is slow.

    The outputs stay the same.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call `func`; slow depthwise convolutions get their own backward pass."""
        return (_conv2d if func is conv2d else func)(*args, **(kwargs or {}))


class _Depthwise(Function):
    """A convolution with the arguments of torch.conv2d."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        """Compute the output (N, C, H', W'); `geometry` is stride, padding, dilation and groups."""
        ctx.save_for_backward(images, weight)
        ctx.geometry = geometry
        return conv2d(images, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the images, the weight and the bias, as far as they are needed."""
        images, weight = ctx.saved_tensors
        of_images = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            dtype = torch.float32 if _is_strided(ctx.geometry[0]) else gradient.dtype
            of_images = conv2d_input(images.shape, weight.to(dtype), gradient.to(dtype), *ctx.geometry)
        if ctx.needs_input_grad[1]:
            dtype = torch.float32 if _is_large(weight) else gradient.dtype
            of_weight = conv2d_weight(images.to(dtype), weight.shape, gradient.to(dtype), *ctx.geometry)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3), dtype=torch.float32)
        return of_images, of_weight, of_bias, None, None, None, None


def _conv2d(
    input: Tensor,  # the names are those of torch.conv2d
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    is_depthwise = groups > 1 and input.ndim == 4 and groups == input.shape[1] == len(weight)
    is_slow = is_depthwise and not isinstance(padding, str) and (_is_strided(stride) or _is_large(weight))
    convolve = _Depthwise.apply if is_slow else conv2d
    return convolve(input, weight, bias, stride, padding, dilation, groups)


def _is_strided(stride: int | tuple[int, int]) -> bool:
    return stride > 1 if isinstance(stride, int) else max(stride) > 1


def _is_large(weight: Tensor) -> bool:
    return max(weight.shape[2:]) > LARGE
