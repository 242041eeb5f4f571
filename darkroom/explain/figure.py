"""The picture of the attributions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, TransformedBbox

from darkroom.explain.attribution import METHODS
from darkroom.figures.drawing import INK, RIGHT, WRONG

TITLES = {"integrated_gradients": "integrated gradients", "grad_cam": "Grad-CAM", "occlusion": "occlusion"}

_TILE, _SIDE = 1.2, 1.12  # inches, the room of a picture, and the picture
_CAPTION, _EDGE, _TITLE = 1.5, 0.3, 1.85  # inches
_LEGEND = """what it is, → what the network says, and how sure it is; orange speaks for
what it says, purple against it, each map on its own scale. Above: what is left of the
answer, on average, while pixels go (↓ less is better) and while they come (↑ more);
in a random order {random}"""


def draw(
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
        return drawn.text(
            x / width, 1 - y / height, text, **{"size": 9, "color": INK, "va": "top", "parse_math": False} | style
        )

    def tile(row: int, column: int) -> Axes:
        left, top = _EDGE + _CAPTION + column * _TILE, _TITLE + row * _TILE
        axes = drawn.add_axes((left / width, 1 - (top + _SIDE) / height, _SIDE / width, _SIDE / height))
        axes.set_axis_off()
        return axes

    missing = [f"no {TITLES[name]}: this network has no feature map" for name in METHODS if name not in maps]
    above = {name: f"↓ {score['deletion']:.2f}  ↑ {score['insertion']:.2f}" for name, score in scores.items()}
    write(_EDGE, 0.2, "What the network looked at", size=12, weight="bold")
    write(_EDGE, 0.46, "\n".join([_LEGEND.format(random=above["random"]), *missing]))
    for column, name in enumerate(maps, 1):
        write(
            _EDGE + _CAPTION + column * _TILE + _SIDE / 2,
            _TITLE - 0.08,
            "\n".join([*TITLES[name].split(" "), above[name]]),
            ha="center",
            va="bottom",
        )
    room = TransformedBbox(Bbox.from_bounds(0, 0, (_EDGE + _CAPTION - 0.1) / width, 1), drawn.transFigure)
    for row, (image, label, answer) in enumerate(zip(images, labels, probabilities, strict=True)):
        said = answer.argmax()
        lines = (
            (classes[label], INK),
            (f"→ {classes[said]}", RIGHT if said == label else WRONG),
            (f"{answer[said]:.1%}", INK),
        )
        for line, (text, colour) in enumerate(lines):
            caption = write(_EDGE, _TITLE + row * _TILE + 0.3 + 0.18 * line, text, color=colour)
            caption.set(clip_on=True, clip_box=room)  # a long name must not run into the picture
        tile(row, 0).imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        for column, values in enumerate(maps.values(), 1):
            strength = np.abs(values[row])
            most = (
                np.percentile(strength, 99) or 1
            )  # not the largest: a few pixels of integrated gradients outshine all others
            axes = tile(row, column)
            axes.imshow(image.mean(2), cmap="gray", vmin=-500, vmax=255)
            axes.imshow(
                values[row], cmap="PuOr_r", vmin=-most, vmax=most, alpha=np.sqrt(np.minimum(strength / most, 1))
            )
    return drawn
