"""Attribution maps: how much each pixel supports or opposes a class, by several methods.

A plausible map may say nothing about the network (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018), so
darkroom/explain/faithfulness.py measures each method on the network itself.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam
from torch import Tensor, nn
from tqdm import tqdm

from darkroom.explain import occlusion
from darkroom.explain.budget import FINEST, Detail
from darkroom.models.inference import batch_size
from darkroom.models.normalisation import normalise

_MAX_PIXELS = 2**19  # of a batch with gradients, over the steps of all its images


class Calibrated(nn.Module):
    """A network whose logits are divided by a temperature."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W) float32."""
        return self.network(images) / self.temperature


# Each method takes a network in evaluation mode, images (n, C, H, W) float32 and a black image (1, C, H, W) as its
# inputs, classes (n,) int64, and how detailed its map is. It returns maps (n, H, W) float32: positive where a pixel
# supports the class, negative where it opposes it.


def integrated_gradients(network: nn.Module, inputs: Tensor, black: Tensor, targets: Tensor, detail: Detail) -> Tensor:
    """What each pixel adds to the class's logit, relative to a black image; the sum is the difference of the logits.

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    fits = inputs[:, 0].numel() * detail.gradient_steps <= _MAX_PIXELS
    at_once = None if fits else max(len(inputs), _batch_size(inputs))
    gradients = IntegratedGradients(network).attribute(
        inputs, black, targets, n_steps=detail.gradient_steps, internal_batch_size=at_once
    )
    return gradients.sum(1).detach()


def grad_cam(network: nn.Module, inputs: Tensor, black: Tensor, targets: Tensor, detail: Detail) -> Tensor | None:
    """What supports the class in the last feature map, enlarged bilinearly; None if the network has no feature map.

    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017.
    """
    layer = _last_feature_map(network, inputs[:1])
    if layer is None:
        return None
    coarse = LayerGradCam(network, layer).attribute(inputs, targets, relu_attributions=True)
    return LayerAttribution.interpolate(coarse, inputs.shape[2:], "bilinear")[:, 0].detach()


def occlusion_map(network: nn.Module, inputs: Tensor, black: Tensor, targets: Tensor, detail: Detail) -> Tensor:
    """How much the class's logit drops when a window is covered, as the mean over the windows that contain a pixel."""
    height, width = inputs.shape[2:]
    windows, fill = occlusion.windows(height, width, detail.windows_per_side), black[0, :, 0, 0].numpy()
    maps = []
    for image, target in zip(inputs.movedim(1, -1).numpy(), targets.tolist(), strict=True):
        covered, indices = occlusion.distinct(occlusion.covered(image, windows, fill))
        with torch.inference_mode():
            parts = torch.from_numpy(covered).movedim(-1, 1).split(_batch_size(inputs))
            logits = torch.cat([network(part) for part in parts])[indices, target]
        maps.append(occlusion.score_drops(logits.numpy(), windows, height, width))
    return torch.from_numpy(np.stack(maps)).float()


METHODS = {"integrated_gradients": integrated_gradients, "grad_cam": grad_cam, "occlusion": occlusion_map}


def attributions(
    network: nn.Module,
    images: np.ndarray,
    targets: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    detail: Detail = FINEST,
) -> dict[str, np.ndarray]:
    """Attribution maps (n, H, W) float32 by method, of images (n, H, W, C) uint8 for the classes `targets` (n,) int64.

    n is at least 1. `mean` and `std` are per channel, on the scale 0..1. A method that does not apply is missing:
    Grad-CAM for a network without feature maps, such as an LSTM. The network must be on the CPU; it is put into
    evaluation mode, and its gradients are unchanged.
    """
    network.eval()
    # np.array copies: the images may be read-only.
    inputs, black = (
        normalise(torch.from_numpy(np.array(some)), mean, std) for some in (images, np.zeros_like(images[:1]))
    )
    size = max(1, _MAX_PIXELS // (detail.gradient_steps * math.prod(images.shape[1:3])))
    batches = zip(inputs.split(size), torch.from_numpy(targets).split(size), strict=True)
    maps = {name: [] for name in METHODS}
    progress = tqdm(batches, "explain", -(-len(images) // size), unit="batch", leave=False, disable=None)
    for batch, classes in progress:
        for name, method in METHODS.items():
            maps[name].append(method(network, batch, black, classes, detail))
    return {name: torch.cat(found).numpy() for name, found in maps.items() if found[0] is not None}


def _batch_size(inputs: Tensor) -> int:
    """How many images like inputs (n, C, H, W) the network gets at a time."""
    return batch_size((*inputs.shape[2:], inputs.shape[1]), inputs.device)


def _last_feature_map(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """The last layer whose output (1, C, h, w) has more than one position; None if there is none.

    That is the last convolution with the normalisation, sums and pooling that follow it.
    """
    found = []

    def record(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            found.append(layer)

    hooks = [layer.register_forward_hook(record) for layer in network.modules()]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return found[-1] if found else None
