"""TIFF files: what Pillow would decode wrongly is corrected or refused."""

import io
import struct
import sys
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image, ImagePalette, TiffImagePlugin, TiffTags

# Pillow's own decoder, its default for uncompressed files, misreads separate planes of 16 bits and subsampled colours.
TiffImagePlugin.READ_LIBTIFF = True

UNSUPPORTED = "it is a TIFF of an unsupported kind"
_SIGNED, _SEPARATE = 2, 2  # values of the tags SampleFormat and PlanarConfiguration
_BY_PLANE = {
    TiffImagePlugin.STRIPOFFSETS,
    TiffImagePlugin.STRIPBYTECOUNTS,
    TiffImagePlugin.TILEOFFSETS,
    TiffImagePlugin.TILEBYTECOUNTS,
}
_OF_A_PLANE = (
    TiffImagePlugin.IMAGEWIDTH,
    TiffImagePlugin.IMAGELENGTH,
    TiffImagePlugin.COMPRESSION,
    TiffImagePlugin.PREDICTOR,
    TiffImagePlugin.FILLORDER,
    TiffImagePlugin.ROWSPERSTRIP,
    TiffImagePlugin.TILEWIDTH,
    TiffImagePlugin.TILELENGTH,
    ExifTags.Base.Orientation,
)
_NATIVE = {} if sys.byteorder == "big" else {"I;16BS": "I;16S", "I;32BS": "I;32S"}  # libtiff swaps the bytes itself


def is_tiff(contents: bytes) -> bool:
    """Whether a file starts as a TIFF or a BigTIFF."""
    return contents[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tags(opened: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; none of another format."""
    return opened.tag_v2 if isinstance(opened, TiffImagePlugin.TiffImageFile) else {}


def bits(opened: Image.Image) -> int:
    """Bits per channel of a TIFF, of the first channel; 0 for another format."""
    found = tags(opened)
    return found.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0] if found else 0


def has_planes(opened: Image.Image) -> bool:
    """Whether a TIFF stores its channels separately."""
    return tags(opened).get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE


def corrected(opened: Image.Image) -> str | None:
    """Correct how Pillow will decode the pixels; returns why it would decode them wrongly, or None if it will not."""
    found = tags(opened)
    if not found:
        return None
    if bits(opened) == 8 and _SIGNED in found.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        return f"{UNSUPPORTED}: signed integers of 8 bits"
    if opened.mode in ("LA", "La", "PA") and has_planes(opened):
        return f"{UNSUPPORTED}: grey and transparency in separate planes"
    if opened.mode in ("P", "PA") and max(colours := found[TiffImagePlugin.COLORMAP], default=0) < 256:
        opened.palette = ImagePalette.raw("RGB;L", bytes(colours))  # by the standard, the largest value is 65,535
    opened.tile = [
        tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:])) for tile in opened.tile
    ]
    return None


def plane(opened: Image.Image, contents: bytes, channel: int) -> bytes:
    """A grey TIFF of one channel of a TIFF with separate planes: `contents` with another list of tags."""
    found = tags(opened)
    order = ">" if found.prefix == b"MM" else "<"
    fields = {tag: [found[tag]] for tag in _OF_A_PLANE if tag in found}
    fields |= {TiffImagePlugin.BITSPERSAMPLE: [bits(opened)], TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: [1]}
    for tag in _BY_PLANE & set(found):  # positions and sizes of the first plane's parts, then those of the next one
        count = len(found[tag]) // found[TiffImagePlugin.SAMPLESPERPIXEL]
        fields[tag] = found[tag][channel * count : (channel + 1) * count]
    start = len(contents) + len(contents) % 2
    entries, lists = struct.pack(order + "H", len(fields)), b""
    after = start + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        data = struct.pack(f"{order}{len(values)}I", *values)
        outside = struct.pack(order + "I", after + len(lists)) if len(data) > 4 else data
        entries += struct.pack(order + "HHI", tag, TiffTags.LONG, len(values)) + outside
        lists += data if len(data) > 4 else b""
    header = found.prefix + struct.pack(order + "HI", 42, start)
    return header + contents[8:].ljust(start - 8, b"\0") + entries + bytes(4) + lists


def why_unidentified(contents: bytes) -> str:
    """Why Pillow does not open a file that starts as a TIFF."""
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(contents))
    except SyntaxError as error:
        unknown = "unknown" in str(error) or str(error) == "Invalid value for samples per pixel"
        if unknown or (isinstance(error.__cause__, KeyError) and isinstance(error.__cause__.args[0], int)):
            return UNSUPPORTED  # of pixels, or of compression
    except (OSError, ValueError):
        pass
    return "its TIFF header is damaged"
