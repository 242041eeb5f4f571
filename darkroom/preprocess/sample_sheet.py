"""What the report on the data says of images: their size and channels, and a sheet of samples of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from darkroom.core import arrays
from darkroom.core.arrays import UNLABELLED, Manifest, Split
from darkroom.core.randomness import numpy_generator
from darkroom.figures import drawing, fonts
from darkroom.figures.images import to_rgb
from darkroom.preprocess.report import ROW
from darkroom.preprocess.samples import NO_LABEL

MAX_CLASSES, MAX_IMAGES = 30, 12  # rows of the sample sheet, and images per row

# All in pixels. The total limits the size of the file: with larger images or more classes, rows are shorter.
_TOTAL_PIXELS = 200_000
_MAX_SIDE = 48  # larger images are shrunk to it
_ENLARGED_SIDE = 56  # smaller images are enlarged by an integer factor to about this
_GAP = 3
_LEFT, _BOTTOM, _RIGHT, _TOP = 160, 8, 8, 40
_MIN_WIDTH = 640  # so that the title fits


def facts(manifest: Manifest, splits: Mapping[str, Split]) -> dict[str, float]:
    """Numbers for metrics/preprocess.json; mean and std by channel are of the training split, on the scale 0..1."""
    height, width, channels = manifest.shape
    return {
        "height": height,
        "width": width,
        "channels": channels,
        **{f"mean_{channel}": round(value, 6) for channel, value in enumerate(manifest.mean)},
        **{f"std_{channel}": round(value, 6) for channel, value in enumerate(manifest.std)},
    }


def write(folder: Path, splits: Mapping[str, Split], manifest: Manifest, seed: int) -> None:
    """Write samples.png to `folder`: random training images of each class, and unlabelled ones, drawn with `seed`."""
    sample_sheet(splits["train"], manifest, seed, splits.get(UNLABELLED)).save(folder / "samples.png", optimize=True)


def sample_sheet(train: Split, manifest: Manifest, seed: int, unlabelled: Split | None = None) -> Image.Image:
    """One row per class: its name and random training images, drawn with `seed`; then a row of unlabelled images.

    The sheet is grey, or has a palette of 256 colours. With more than MAX_CLASSES classes, only the first ones are
    shown, and the title says so.
    """
    shown = manifest.classes[:MAX_CLASSES]
    height, width, _ = manifest.shape
    shrink = min(1, _MAX_SIDE / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    names = [*shown, *([ROW] if unlabelled is not None else [])]
    columns = int(np.clip(_TOTAL_PIXELS // (len(names) * height * width), 4, MAX_IMAGES))
    enlarge = max(1, round(_ENLARGED_SIDE / max(height, width)))
    cells = np.full((len(names), height * enlarge + _GAP, columns, width * enlarge + _GAP, 3), 255, dtype=np.uint8)
    for row, name in enumerate(names):
        split, label = (train, row) if row < len(shown) else (unlabelled, NO_LABEL)
        indices = np.flatnonzero(split.labels == label)
        indices = numpy_generator(seed, "samples", name).permutation(indices)[:columns]
        images = np.empty((len(indices), *manifest.shape), np.uint8)
        arrays.read_into(images, split.inputs, indices)
        for column, image in enumerate(images):
            small = np.asarray(Image.fromarray(to_rgb(image)).resize((width, height), Image.Resampling.BOX))
            cells[row, :-_GAP, column, :-_GAP] = small.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    pixels = cells.reshape(len(names) * cells.shape[1], -1, 3)
    subset = "" if len(shown) == len(manifest.classes) else f", first {len(shown)} of {len(manifest.classes)} classes"
    return _label_rows(pixels, names, f"{manifest.title}: training images{subset}")


def _label_rows(pixels: np.ndarray, names: Sequence[str], title: str) -> Image.Image:
    """Draw the pixels (H, W, 3) uint8 of a sheet unscaled, under a title and to the right of the row names."""
    height, width, _ = pixels.shape
    full_width, full_height = max(_LEFT + width + _RIGHT, _MIN_WIDTH), _BOTTOM + height + _TOP
    figure = Figure(figsize=(full_width / 100, full_height / 100), dpi=100)
    box = (_LEFT / full_width, _BOTTOM / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(box, frame_on=False)
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_xticks([])
    ticks, labels = (np.arange(len(names)) + 0.5) * height / len(names), [drawing.shorten(name, 20) for name in names]
    axes.set_yticks(ticks, labels, fontsize=10, parse_math=False)
    axes.tick_params(length=0)
    text = drawing.shorten(title, full_width // 10)
    left, top = 10 / full_width, 1 - 12 / full_height
    figure.text(left, top, text, fontsize=12, weight="bold", va="top", parse_math=False)
    canvas = FigureCanvasAgg(figure)
    with fonts.complete(figure):
        canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return drawn.convert("L") if (pixels == pixels[..., :1]).all() else drawn.quantize(256)
