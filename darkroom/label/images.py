"""The image of an example for the page: of the original file if there is one, else of the packed array."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from darkroom.core.arrays import HIDDEN
from darkroom.datasets import index
from darkroom.inputs import image
from darkroom.inputs.image import Unusable
from darkroom.label.examples import Packed

MAX_SIDE = 1200  # pixels of the longer side; larger images are reduced to it
_EXACT_SIDE = 256  # pixels: up to this size images are sent without loss; JPEG is 10 times faster for larger ones
_QUALITY = 95


@dataclass(frozen=True)
class Images:
    """The images of a data set; `folder` holds the original files, whose paths are the ids, if there are any."""

    packed: Packed
    folder: Path | None
    max_pixels: int

    def contents(self, example: str) -> bytes | None:
        """The original file; None if there is none, or if its name is hidden. Raises Unusable if it cannot be read."""
        if self.folder is None or example.startswith(HIDDEN):
            return None
        return index.contents_of(self.folder, example)

    def pixels(self, example: str) -> tuple[np.ndarray, str]:
        """The image (H, W, C) uint8, and why it is not that of the original file, if it is not."""
        try:
            if (contents := self.contents(example)) is not None:
                return self._decoded(contents), ""
        except Unusable as reason:
            return self.packed.pixels(example), f"The file cannot be shown: {reason}. This is what the network sees."
        return self.packed.pixels(example), ""

    def probabilities(self, model: object, example: str) -> np.ndarray:
        """The probabilities (K,) float32 of `model`, a bundle as `classifier.read` opens it."""
        from darkroom.bundle import classifier  # onnxruntime takes long to import

        contents = self.contents(example)
        pixels = self.packed.pixels(example) if contents is None else classifier.decode_image(model.manifest, contents)
        return classifier.predict(model, pixels[None])[1][0]

    def encoded(self, example: str) -> tuple[bytes, str, str]:
        """The image as a PNG or JPEG file, its media type, and the remark of `pixels`."""
        found, remark = self.pixels(example)
        picture, file = Image.fromarray(found.squeeze(-1) if found.shape[-1] == 1 else found), io.BytesIO()
        if max(picture.size) <= _EXACT_SIDE:
            picture.save(file, "PNG", compress_level=1)
            return file.getvalue(), "image/png", remark
        picture.save(file, "JPEG", quality=_QUALITY, subsampling=0)
        return file.getvalue(), "image/jpeg", remark

    def _decoded(self, contents: bytes) -> np.ndarray:
        header = image.probe(contents)
        scale = min(1, MAX_SIDE / max(header.width, header.height))
        size = max(1, round(header.height * scale)), max(1, round(header.width * scale))
        levels = self.packed.manifest.intensity_range
        return image.decode(contents, size, header.channels, "stretch", self.max_pixels, levels)
