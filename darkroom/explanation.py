"""What a network looked at: maps of the pixels that speak for a class, and how faithful these maps are to the network.

A convincing map may tell nothing of the network (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018), so each
method is measured on the network itself, against an order of the pixels that knows nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, TransformedBbox
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from tqdm import tqdm

from darkroom import metrics
from darkroom.inference import predict
from darkroom.plots import INK, RIGHT, WRONG
from darkroom.randomness import numpy_generator
from darkroom.transforms import normalise

PART = 1 / 7  # of the picture's side: an occluding window, and the deviation of the blur that removes pixels
PATH = 32  # points between the black picture and the real one; as many occluded pictures go through the network at a time
ORDERS = 5  # random ones, whose mean is what the methods are compared with

_TILE, _SIDE = 1.2, 1.12  # inches, the room of a picture, and the picture
_CAPTION, _EDGE, _TITLE = 1.5, 0.3, 1.85  # inches
_LEGEND = """what it is, → what the network says, and how sure it is; orange speaks for
what it says, purple against it, each map on its own scale. Above: what is left of the
answer, on average, while pixels go (↓ less is better) and while they come (↑ more);
in a random order {random}"""


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
    return Occlusion(network).attribute(picture, (channels, *window), (channels, *stride), black, target, perturbations_per_eval=PATH)[0, 0]


# Each takes a network, a picture and a black one, both as the network's input (1, C, H, W) float32, and a class; it gives a map (H, W) float32.
METHODS = {"integrated gradients": integrated_gradients, "Grad-CAM": grad_cam, "occlusion": occlusion}


def attributions(network: nn.Module, images: np.ndarray, targets: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> dict[str, np.ndarray]:
    """Maps (n, H, W) float32 by method of what speaks for (above 0) and against the classes `targets` (n,) int64 in images (n, H, W, C) uint8.

    n is at least 1; `mean` and `std` by channel, on the scale 0..1. Without Grad-CAM where the network has no feature map, as an LSTM.
    The network, which is on the CPU, is left in evaluation mode and its gradients as they were.
    """
    network.eval()
    pictures, black = (normalise(torch.from_numpy(np.array(some)), mean, std) for some in (images, np.zeros_like(images[:1])))
    maps = {name: [] for name in METHODS}
    for picture, target in zip(tqdm(pictures, "explain", unit="picture", leave=False, disable=None), targets.tolist(), strict=True):
        for name, method in METHODS.items():
            maps[name].append(method(network, picture[None], black, target))
    return {name: torch.stack(found).detach().numpy() for name, found in maps.items() if found[0] is not None}


def faithfulness(
    network: nn.Module,
    images: np.ndarray,
    targets: np.ndarray,
    maps: Mapping[str, np.ndarray],
    mean: Sequence[float],
    std: Sequence[float],
    steps: int = 25,
) -> pd.DataFrame:
    """How the probability of `targets` (n,) int64 changes as the pixels of images (n, H, W, C) uint8 go, and come, in the order of each map (n, H, W).

    A row a method and step, the last for `ORDERS` random orders: method, share of the pixels, deletion (the sooner it falls the better) and
    insertion (the sooner it rises the better), means over the pictures. Petsiuk, Das and Saenko, "RISE: randomized input sampling for
    explanation of black-box models", BMVC 2018.

    A pixel that is gone shows the blurred picture. One colour for all would draw edges that no picture has, the more of them the
    more random the order, so that a random one would look best. Pixels of equal value come in random order, the same in every run.
    """
    n, height, width, _ = images.shape
    blurred = gaussian_filter(images, (0, height * PART, width * PART, 0), output=np.float32).round().astype(np.uint8)
    counts = np.linspace(0, height * width, steps + 1).round()
    random = numpy_generator(0, "order of equal pixels")
    curves = []
    for method, values in [*maps.items(), *[("random", np.zeros((n, height, width)))] * ORDERS]:
        ranks = np.lexsort((random.random((n, height * width)), -values.reshape(n, -1))).argsort(1)
        first = (ranks[:, None] < counts[:, None]).reshape(n, steps + 1, height, width, 1)
        curve = {"method": method, "share": counts / (height * width)}
        for name, shown in (("deletion", ~first), ("insertion", first)):
            altered = np.where(shown, images[:, None], blurred[:, None]).reshape(-1, *images.shape[1:])
            answers = metrics.probabilities(predict(network, altered, mean, std)).reshape(n, steps + 1, -1)
            curve[name] = answers[np.arange(n), :, targets].mean(0)
        curves.append(pd.DataFrame(curve))
    return pd.concat(curves).groupby(["method", "share"], sort=False, as_index=False).mean()


def areas(curves: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The areas under the curves of `faithfulness`, by method: of deletion (the lower the better) and insertion (the higher the better)."""
    return {
        str(method): {name: float(np.trapezoid(curve[name], curve["share"])) for name in ("deletion", "insertion")}
        for method, curve in curves.groupby("method", sort=False)
    }


def figure(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    maps: Mapping[str, np.ndarray],
    scores: Mapping[str, Mapping[str, float]],
    classes: Sequence[str],
) -> Figure:
    """A row a picture (n, H, W, C) uint8: what it is, what the network says, the picture, and over it the map (n, H, W) of each method.

    Of labels (n,) int64 and probabilities (n, K); the maps are of the most probable class. Above each stand its scores, by `areas`. The same
    input gives the same bytes.
    """
    width, height = 2 * _EDGE + _CAPTION + (1 + len(maps)) * _TILE, _TITLE + len(images) * _TILE + _EDGE
    drawn = Figure(figsize=(width, height), dpi=100)

    def write(x: float, y: float, text: str, **style: object) -> Text:
        return drawn.text(x / width, 1 - y / height, text, **{"size": 9, "color": INK, "va": "top", "parse_math": False} | style)

    def tile(row: int, column: int) -> Axes:
        left, top = _EDGE + _CAPTION + column * _TILE, _TITLE + row * _TILE
        axes = drawn.add_axes((left / width, 1 - (top + _SIDE) / height, _SIDE / width, _SIDE / height))
        axes.set_axis_off()
        return axes

    missing = [f"no {name}: this network has no feature map" for name in METHODS if name not in maps]
    above = {name: f"↓ {score['deletion']:.2f}  ↑ {score['insertion']:.2f}" for name, score in scores.items()}
    write(_EDGE, 0.2, "What the network looked at", size=12, weight="bold")
    write(_EDGE, 0.46, "\n".join([_LEGEND.format(random=above["random"]), *missing]))
    for column, name in enumerate(maps, 1):
        write(_EDGE + _CAPTION + column * _TILE + _SIDE / 2, _TITLE - 0.08, "\n".join([*name.split(" "), above[name]]), ha="center", va="bottom")
    room = TransformedBbox(Bbox.from_bounds(0, 0, (_EDGE + _CAPTION - 0.1) / width, 1), drawn.transFigure)
    for row, (image, label, answer) in enumerate(zip(images, labels, probabilities, strict=True)):
        said = answer.argmax()
        lines = ((classes[label], INK), (f"→ {classes[said]}", RIGHT if said == label else WRONG), (f"{answer[said]:.1%}", INK))
        for line, (text, colour) in enumerate(lines):
            caption = write(_EDGE, _TITLE + row * _TILE + 0.3 + 0.18 * line, text, color=colour)
            caption.set(clip_on=True, clip_box=room)  # a long name must not run into the picture
        tile(row, 0).imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        for column, values in enumerate(maps.values(), 1):
            strength = np.abs(values[row])
            most = np.percentile(strength, 99) or 1  # not the largest: a few pixels of integrated gradients outshine all others
            axes = tile(row, column)
            axes.imshow(image.mean(2), cmap="gray", vmin=-500, vmax=255)
            axes.imshow(values[row], cmap="PuOr_r", vmin=-most, vmax=most, alpha=np.sqrt(np.minimum(strength / most, 1)))
    return drawn
