"""Check that an adapted network of a library takes the images and gives one logit per class."""

import torch
from torch import Tensor, nn

FAILURES = (RuntimeError, ValueError, ArithmeticError, IndexError, AssertionError)  # of a network and a size


@torch.no_grad()
def require_fit(network: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Raise ValueError unless the network gives logits (1, classes) for an image of `shape`, channels last.

    Leaves the network in training mode.
    """
    height, width, channels = shape
    try:
        logits = network.eval()(torch.zeros(1, channels, height, width))
    except FAILURES as error:
        raise misfit(error) from None
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"for one image the network gives {found}, expected logits of the shape (1, {classes})")
    network.train()


def misfit(error: Exception) -> ValueError:
    """An error of FAILURES, explained in one line."""
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return ValueError(f"the size is too small, or not a multiple of the network's strides ({reason})")
