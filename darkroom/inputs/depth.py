"""Images of more than 8 bits per channel: their values, and how these become 8 bits.

Values are on the scale of 16 bits, 0..65535. Pillow reads grey images of 16 bits as a whole, but of colours and of grey
with transparency only the high byte. The low byte then comes from a second image, whose pixels are read in the opposite
byte order.
"""

import io
import sys

import numpy as np
from PIL import Image, TiffImagePlugin

from darkroom.inputs import tiff
from darkroom.inputs.unusable import Unusable

FULL_RANGE = (0, 0xFFFF)
GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's modes of grey images of 12, 16 or more bits
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # the last letters of raw modes
_COLOURS = ("RGB;16", "RGBA;16", "RGBX;16")  # raw modes without their last letter
GREY_ALPHA = "LA;16B"  # the raw mode of a PNG


def raw_mode(opened: Image.Image) -> str:
    """How Pillow will unpack the pixels of an image that it has not loaded yet."""
    arguments = opened.tile[0].args if opened.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def bits(opened: Image.Image) -> int:
    """Bits per channel of an image that is not loaded yet: 8, or 16 for 12 and 16."""
    return 16 if opened.mode in GREY or raw_mode(opened).startswith((*_COLOURS, GREY_ALPHA)) else 8


class Deep:
    """The values of an image of more than 8 bits per channel; `opened` is not loaded yet, and `contents` is its file.

    The low bytes of colours are read only if `exact` or if they decide which pixels are transparent.
    """

    def __init__(self, opened: Image.Image, contents: bytes, exact: bool):
        self._opened = opened
        self._is_grey = opened.mode in GREY
        self._hidden = opened.info.get("transparency")  # the value of transparent pixels in a PNG, as stored
        exact = exact or self._hidden is not None
        self._low = _with_low_bytes(opened, contents) if exact and not self._is_grey else None
        self._is_grey_alpha = raw_mode(opened) == GREY_ALPHA
        self._is_12_bits = tiff.bits(opened) == 12
        # Pillow handles this up to 8 bits only
        self._is_inverted = tiff.tags(opened).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0

    def values(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """The values (h, w) or (h, w, 3) uint16 in a box (left, top, right, bottom), without transparency."""
        high = np.asarray(self._opened.crop(box))
        if self._is_grey:
            if high.min() < 0 or high.max() > 0xFFFF:
                raise Unusable("its pixels exceed 16 bits, so their scale is unknown: save it with 8 or 16 bits")
            grey = high.astype(np.uint16) << (4 if self._is_12_bits else 0)
            return 0xFFFF - grey if self._is_inverted else grey
        low = high if self._low is None else np.asarray(self._low.crop(box))
        if self._is_grey_alpha:
            return high[..., 0].astype(np.uint16) << 8 | low[..., 1 if self._low is not None else 0]
        return high[..., :3].astype(np.uint16) << 8 | low[..., :3]

    def layer(self, box: tuple[int, int, int, int], intensity_range: tuple[int, int] | None) -> Image.Image:
        """The pixels in a box with 8 bits, in mode L, LA, RGB or RGBA; see `scaled`."""
        values = self.values(box)
        levels = Image.fromarray(scaled(values, intensity_range or FULL_RANGE))
        if self._opened.mode == "RGBA":
            levels.putalpha(self._opened.crop(box).getchannel("A"))
        elif self._hidden is not None:
            is_hidden = values == np.asarray(self._hidden, np.uint16)
            is_hidden = is_hidden if self._is_grey else is_hidden.all(axis=-1)
            levels.putalpha(Image.fromarray(np.where(is_hidden, np.uint8(0), np.uint8(255))))
        return levels


def scaled(values: np.ndarray, intensity_range: tuple[int, int]) -> np.ndarray:
    """Map values (...) uint16 from `intensity_range`, the lowest and the highest value, to (...) uint8 levels.

    Each level stands for an equal part of the range; of all 16 bits, it is the high byte. Values outside of the range
    become 0 or 255.
    """
    low, high = intensity_range
    levels = (np.clip(values, low, high).astype(np.uint32) - low) * 256 // (high - low)
    return np.minimum(levels, 255).astype(np.uint8)


def _with_low_bytes(opened: Image.Image, contents: bytes) -> Image.Image:
    """A loaded image with the low bytes of all pixels.

    Of grey with transparency, it has the high and the low byte of grey in its first two channels.
    """
    if tiff.has_planes(opened):
        planes = [np.asarray(_opened(tiff.plane(opened, contents, channel), "TIFF")) for channel in range(3)]
        return Image.fromarray(np.stack([(values & 0xFF).astype(np.uint8) for values in planes], axis=-1))
    second = _opened(contents, opened.format)
    (tile,) = second.tile
    mode = raw_mode(second)
    mode = "RGBA" if mode == GREY_ALPHA else mode[:-1] + _SWAPPED[mode[-1]]
    second.tile = [tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)]
    second.load()
    return second


def _opened(contents: bytes, kind: str) -> Image.Image:
    return Image.open(io.BytesIO(contents), formats=(kind,))
