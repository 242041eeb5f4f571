"""TIFF files that Pillow cannot write, from arrays."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

Tags = dict[int, tuple[str, Sequence[int]]]  # tag -> its type as in struct, and its values


def encode(
    pixels: np.ndarray,
    photometric: int,
    planar: int = 1,
    order: str = "<",
    deflate: bool = False,
    rows: int = 0,
    tile: int = 0,
    predictor: int = 1,
    tags: Tags | None = None,
) -> bytes:
    """A TIFF of `pixels` (H, W, C), in strips of `rows` rows, or in tiles; by default in one strip.

    planar: 1 (interleaved) or 2 (one plane per channel). predictor: 1 (none) or 2 (horizontal differences).
    """
    height, width, channels = pixels.shape
    planes = [pixels] if planar == 1 else [pixels[..., channel : channel + 1] for channel in range(channels)]
    parts = [part for plane in planes for part in (_tiles(plane, tile) if tile else _strips(plane, rows or height))]
    data = []
    for part in parts:
        values = np.diff(part, axis=1, prepend=part[:, :1] * 0) if predictor == 2 else part
        raw = np.ascontiguousarray(values).astype(part.dtype.newbyteorder(order)).tobytes()
        data.append(zlib.compress(raw) if deflate else raw)
    layout: Tags = {322: ("I", [tile]), 323: ("I", [tile])} if tile else {278: ("I", [rows or height])}
    offsets, sizes = (324, 325) if tile else (273, 279)
    fields: Tags = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8 * pixels.itemsize] * channels),
        259: ("H", [8 if deflate else 1]),
        262: ("H", [photometric]),
        277: ("H", [channels]),
        284: ("H", [planar]),
        317: ("H", [predictor]),
        **layout,
        sizes: ("I", [len(one) for one in data]),
        offsets: ("I", [0] * len(data)),
        **(tags or {}),
    }
    return assemble(fields, data, offsets, order)


def assemble(fields: Tags, data: Sequence[bytes], offsets: int, order: str = "<") -> bytes:
    """A TIFF of these fields, whose tag `offsets` gets the positions of the parts of `data`."""
    kinds = {"H": 3, "I": 4}
    position = 8 + 2 + 12 * len(fields) + 4
    outside = {}
    for tag, (kind, values) in sorted(fields.items()):
        if (size := struct.calcsize(f"{len(values)}{kind}")) > 4:
            outside[tag], position = position, position + size
    positions = []
    for part in data:
        positions.append(position)
        position += len(part)
    fields = {**fields, offsets: ("I", positions)}
    packed = {tag: struct.pack(f"{order}{len(values)}{kind}", *values) for tag, (kind, values) in fields.items()}
    contents = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, len(fields))
    for tag, (kind, values) in sorted(fields.items()):
        value = struct.pack(order + "I", outside[tag]) if tag in outside else packed[tag].ljust(4, b"\0")
        contents += struct.pack(order + "HHI", tag, kinds[kind], len(values)) + value
    return contents + bytes(4) + b"".join(packed[tag] for tag in sorted(outside)) + b"".join(data)


def _strips(plane: np.ndarray, rows: int) -> list[np.ndarray]:
    return [plane[top : top + rows] for top in range(0, len(plane), rows)]


def _tiles(plane: np.ndarray, side: int) -> list[np.ndarray]:
    height, width, _ = plane.shape
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)))
    return [
        padded[top : top + side, left : left + side] for top in range(0, height, side) for left in range(0, width, side)
    ]
