"""Figures of the audit, and images embedded in its page."""

import base64
import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from darkroom.figures import drawing

# Of Okabe and Ito: safe for colour-blind readers
COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73", "unlabelled": "#CC79A7"}


def brightness_histograms(brightness: Mapping[str, np.ndarray]) -> Figure:
    """Histograms, one line per split, of the mean brightness (N,) of its images, 0..255."""
    figure = Figure(figsize=(8, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="mean brightness", ylabel="fraction of images")
    for name, values in brightness.items():
        counts, edges = np.histogram(values, 64, (0, 255))
        axes.step(edges[:-1], counts / max(1, len(values)), where="post", color=COLOURS[name], label=name)
    axes.legend(frameon=False)
    return figure


def data_uri(image: Figure | Image.Image) -> str:
    """The image as a PNG in a data URI."""
    buffer = io.BytesIO()
    if isinstance(image, Figure):
        drawing.save(image, buffer)
    else:
        image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
