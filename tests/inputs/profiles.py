"""ICC profiles (ICC.1:2001-04) of simple colour spaces, and the colours that they mean."""

import itertools
import struct
from collections.abc import Mapping, Sequence

import numpy as np

# The columns of red, green and blue in XYZ under D50
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_D50 = (0.9642, 1.0, 0.8249)


def rgb(primaries: Sequence[Sequence[float]] = ADOBE_RGB, gamma: float = 2.2) -> bytes:
    """A profile of primaries and a gamma value."""
    columns = {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return profile(b"RGB ", columns | {name: curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")})


def grey(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve(gamma)})


def cmyk() -> bytes:
    """A profile of inks that darken alike: L* is 100 - 25 (C + M + Y + K), and a* and b* are 0."""
    grid = bytes(one for inks in itertools.product((0, 1), repeat=4) for one in (255 - 255 * sum(inks) // 4, 128, 128))
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65_536 * (row == column) for row in range(3) for column in range(3)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * identity + grid + 3 * identity
    return profile(b"CMYK", {b"A2B0": table}, b"Lab ", b"prtr")


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)


def profile(space: bytes, tags: Mapping[bytes, bytes], connection: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    text = b"test\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78 + 1)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + text, b"wtpt": _xyz(_D50), **tags}
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = start + len(data)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"", 0x02400000, kind, space, connection, bytes(12), b"acsp")
    return (
        (header + bytes(28) + struct.pack(">3i", *(round(65_536 * one) for one in _D50))).ljust(128, b"\0")
        + table
        + data
    )


def to_srgb(levels: np.ndarray, primaries: Sequence[Sequence[float]] = ADOBE_RGB, gamma: float = 2.2) -> np.ndarray:
    """The levels (..., 3) in sRGB of levels (..., 3) in the space of `rgb`, by the definitions of both."""
    light = (levels / 255) ** (round(256 * gamma) / 256) @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))
    return encoded(light)


def encoded(light: np.ndarray) -> np.ndarray:
    """The levels of linear light 0..1 in sRGB, IEC 61966-2-1."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65_536 * value) for value in values))
