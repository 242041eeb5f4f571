"""One picture file's bytes: what it is, and its pixels at the size that a network wants.

Hostile bytes cost a sentence, never memory or a crash: only the decoders named here run, and no pixel is decoded before the
header's size is known to be within the limit.
"""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import (  # noqa: F401 - registers the decoders
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
Image.MAX_IMAGE_PIXELS = (
    None  # Pillow's own limit warns, and warnings cannot be caught in one thread alone: ours comes first
)
warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a file is ours to tell
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its messages would reach the terminal

_BAD = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
)
_BAD += (struct.error, zlib.error, Image.DecompressionBombError)  # all that Pillow was seen to raise for broken bytes
_MODES_16 = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # grey of 16 bits; Pillow reads some PNGs of this kind as I


class Unusable(ValueError):
    """A file that is no usable picture; says why in few words."""


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before any pixel is decoded."""

    format: str  # one of FORMATS, or MPO: a JPEG with further pictures behind it, as cameras write
    width: int  # pixels, as a person sees it: once it is turned upright
    height: int
    channels: int  # 1: grey, 3: colour


def probe(contents: bytes) -> Header:
    """Reads the header of a picture file; raises Unusable where there is none."""
    with _opened(contents) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:  # turned by a quarter
            width, height = height, width
        return Header(picture.format or "", width, height, 1 if _is_grey(picture) else 3)


def decode(
    contents: bytes,
    size: tuple[int, int],
    channels: Literal[1, 3],
    resize: Literal["stretch", "crop", "pad"],
    max_pixels: int,
) -> np.ndarray:
    """The pixels (H, W, C) uint8 of a picture file at `size` (height, width), grey or in colour; raises Unusable.

    The first picture of several; turned upright; what is transparent shows white; 16 bits are scaled to 8; grey is ITU-R
    601's luma. A picture that has the size already keeps its pixels. One with more than `max_pixels` is not decoded.
    """
    with _opened(contents) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise Unusable(f"it has {width:,} x {height:,} pixels, more than the {max_pixels:,} that max_pixels allows")
        tags = _tiff_tags(picture)
        if (
            tile := int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
        ) > max_pixels:  # libtiff holds a whole one
            raise Unusable(
                f"each of its tiles has {tile:,} pixels, more than the {max_pixels:,} that max_pixels allows"
            )
        upright = _ORIENTATIONS.get(_orientation(picture))
        flat = _flattened(picture)
    flat = flat.transpose(upright) if upright is not None else flat
    return pixels(flat, size, channels, resize)


def pixels(
    picture: Image.Image, size: tuple[int, int], channels: Literal[1, 3], resize: Literal["stretch", "crop", "pad"]
) -> np.ndarray:
    """The pixels (H, W, C) uint8 of a picture in mode L or RGB at `size` (height, width), grey or in colour; see `fit`."""
    return np.array(fit(picture, size, resize).convert("L" if channels == 1 else "RGB")).reshape(*size, channels)


def fit(picture: Image.Image, size: tuple[int, int], resize: Literal["stretch", "crop", "pad"]) -> Image.Image:
    """A picture, grey or in colour, at `size` (height, width), antialiased, bilinear.

    stretch: each side on its own; crop: the largest part in the middle that has the wanted shape; pad: the whole, with black
    beside it, at least one pixel wide and high.
    """
    height, width = size
    if picture.size == (width, height):
        return picture
    match resize:
        case "stretch":
            return picture.resize((width, height), Image.Resampling.BILINEAR)
        case "crop":
            return ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        case "pad":
            inner_width = min(width, max(1, round(picture.width / picture.height * height)))
            inner_height = min(height, max(1, round(picture.height / picture.width * width)))
            padded = Image.new(
                picture.mode, (width, height)
            )  # not ImageOps.pad, which loses a picture thinner than a pixel
            inner = picture.resize((inner_width, inner_height), Image.Resampling.BILINEAR)
            padded.paste(inner, (round((width - inner_width) / 2), round((height - inner_height) / 2)))
            return padded


_ORIENTATIONS = {  # EXIF's, by what makes each upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def _opened(contents: bytes) -> Iterator[Image.Image]:
    """The picture, of which only the header is read; any error inside becomes Unusable."""
    try:
        if not contents:
            raise Unusable("it is empty")
        with Image.open(io.BytesIO(contents), formats=FORMATS) as picture:
            if 0 in picture.size:
                raise Unusable("it has no pixels")
            yield picture
    except Unusable:
        raise
    except Image.UnidentifiedImageError:
        raise Unusable(f"it is no picture of a known format ({', '.join(FORMATS)})") from None
    except _BAD as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unusable(
            "it is truncated" if "truncated" in reason.lower() else f"it cannot be decoded ({reason})"
        ) from None


def _orientation(picture: Image.Image) -> int:
    """EXIF's number, 1 to 8, of how the picture is still to be turned; 1 where there is none or it cannot be read."""
    if picture.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        value = int(
            Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
        )  # a PNG's own getexif would decode its pixels
        return value if value in _ORIENTATIONS else 1
    except _BAD:
        return 1


def _tiff_tags(picture: Image.Image) -> Mapping[int, Any]:
    return picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}


def _is_grey(picture: Image.Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La", "F", *_MODES_16)


def _flattened(picture: Image.Image) -> Image.Image:
    """The picture in mode L or RGB: 8 bits, nothing transparent. Decodes the pixels."""
    if picture.mode in _MODES_16:
        return _scaled(picture)
    if picture.mode == "F":
        raise Unusable("its pixels are fractions, whose scale is not known: save it with 8 or 16 bits")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(
            "L" if _is_grey(picture) else "RGB"
        )
    return picture.convert("L" if _is_grey(picture) else "RGB")


def _scaled(picture: Image.Image) -> Image.Image:
    """A grey picture of 12 or 16 bits in mode L, by the full range of its kind. Decodes the pixels."""
    values, tags = np.asarray(picture), _tiff_tags(picture)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise Unusable("its pixels go beyond 16 bits, so their scale is not known: save it with 8 or 16 bits")
    grey = (values >> (4 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 8)).astype(np.uint8)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # 0 is white: Pillow minds that up to 8 bits only
        grey = 255 - grey
    return Image.fromarray(np.where(values == picture.info.get("transparency"), np.uint8(255), grey))
