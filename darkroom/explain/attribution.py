"""What a network looked at: maps of the pixels that speak for a class, and how faithful these maps are to the network.

A convincing map may tell nothing of the network (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018), so each
method is measured on the network itself, against an order of the pixels that knows nothing.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from torch import Tensor, nn
from tqdm import tqdm

from darkroom.models.normalisation import normalise

PART = 1 / 7  # of the picture's side: an occluding window, and the deviation of the blur that removes pixels
PATH = (
    32  # points between the black picture and the real one; as many occluded pictures go through the network at a time
)


class Calibrated(nn.Module):
    """A network whose logits are divided by a temperature (darkroom/calibration.py), so that it is as sure as it is right."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) float32 to logits (N, K)."""
        return self.network(images) / self.temperature


def choose(probabilities: np.ndarray, labels: np.ndarray, each: int) -> np.ndarray:
    """Places (n,) int64 of pictures worth a look: `each` that are surely right, the `each` surest mistakes, the `each` least sure.

    Of probabilities (N, K) and labels (N,) int64. Those that are right take turns by class, the surest of each first. None comes twice;
    where there are not enough, there are fewer.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    surest = np.argsort(-confidence, kind="stable")
    right, mistakes = (surest[(predicted == labels)[surest] == wanted] for wanted in (True, False))
    turns = pd.Series(right).groupby(predicted[right]).cumcount()
    sure = np.concatenate([right[np.argsort(turns, kind="stable")][:each], mistakes[:each]])
    return np.concatenate([sure, surest[~np.isin(surest, sure)][::-1][:each]])


def integrated_gradients(network: nn.Module, picture: Tensor, black: Tensor, target: int) -> Tensor:
    """What each pixel (H, W) adds to the class's logit, compared with a black picture; the sum is the difference of the two logits.

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    return IntegratedGradients(network).attribute(picture, black, target, n_steps=PATH).sum((0, 1))


def grad_cam(network: nn.Module, picture: Tensor, black: Tensor, target: int) -> Tensor | None:
    """What speaks for the class (H, W) in the network's last feature map, bilinearly enlarged; None where it has no such map.

    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017.
    """
    layer = _last_feature_map(network, picture)
    if layer is None:
        return None
    coarse = LayerGradCam(network, layer).attribute(picture, target, relu_attributions=True)
    return LayerAttribution.interpolate(coarse, picture.shape[2:], "bilinear")[0, 0]


def _last_feature_map(network: nn.Module, picture: Tensor) -> nn.Module | None:
    """The layer that last gives (1, C, h, w) of more than one place: of the last convolution, with the norms, sums and pooling after it."""
    found = []

    def look(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            found.append(layer)

    hooks = [layer.register_forward_hook(look) for layer in network.modules()]
    with torch.no_grad():
        network(picture)
    for hook in hooks:
        hook.remove()
    return found[-1] if found else None


def occlusion(network: nn.Module, picture: Tensor, black: Tensor, target: int) -> Tensor:
    """By how much the class's logit falls (H, W) when a window is blackened, on average over the windows that cover a pixel.

    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    channels, *sides = picture.shape[1:]
    window = [max(1, round(side * PART)) for side in sides]
    stride = [max(1, side // 2) for side in window]
    return Occlusion(network).attribute(
        picture, (channels, *window), (channels, *stride), black, target, perturbations_per_eval=PATH
    )[0, 0]


# Each takes a network, a picture and a black one, both as the network's input (1, C, H, W) float32, and a class; it gives a map (H, W) float32.
METHODS = {"integrated_gradients": integrated_gradients, "grad_cam": grad_cam, "occlusion": occlusion}


def attributions(
    network: nn.Module, images: np.ndarray, targets: np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> dict[str, np.ndarray]:
    """Maps (n, H, W) float32 by method of what speaks for (above 0) and against the classes `targets` (n,) int64 in images (n, H, W, C) uint8.

    n is at least 1; `mean` and `std` by channel, on the scale 0..1. Without Grad-CAM where the network has no feature map, as an LSTM.
    The network, which is on the CPU, is left in evaluation mode and its gradients as they were.
    """
    network.eval()
    pictures, black = (
        normalise(torch.from_numpy(np.array(some)), mean, std) for some in (images, np.zeros_like(images[:1]))
    )
    maps = {name: [] for name in METHODS}
    for picture, target in zip(
        tqdm(pictures, "explain", unit="picture", leave=False, disable=None), targets.tolist(), strict=True
    ):
        for name, method in METHODS.items():
            maps[name].append(method(network, picture[None], black, target))
    return {name: torch.stack(found).detach().numpy() for name, found in maps.items() if found[0] is not None}
