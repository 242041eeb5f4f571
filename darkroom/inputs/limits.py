"""Bounds on the structure of image files, checked before any decoder reads them.

Decoders handle each chunk, segment, scan and strip of a file in turn, and some of them in Python. A small file can
hold so many that it would occupy a processor for minutes, whatever its number of pixels.
"""

import re
import struct

MAX_SIDE = 65_535  # pixels; decoders need memory for each row. JPEG has the same limit, cameras stay far below
MAX_SCANS = 100  # of a JPEG: each is a pass over the whole image. Encoders write up to about 20
MAX_STRIPS = 200_000  # strips or tiles of a TIFF: more than one strip per row and colour of the largest image
_MAX_PARTS = 10_000  # chunks of a PNG, or segments before the pixels of a JPEG
_PART = 512  # bytes: a file may have one more part for each
_MAX_JUNK = 2**16  # bytes between the segments of a JPEG
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed byte nor a restart marker
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))  # TEM, RST0 to RST7, SOI
_SOS, _EOI = 0xDA, 0xD9
_FRAMES = {0xC0 + number for number in range(16)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the others are tables
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_TIFF_HEADERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # + is BigTIFF
_STRIP_TAGS = {273, 279, 324, 325}  # offsets and sizes of strips, of tiles


def excess(contents: bytes) -> str | None:
    """What an image file has too much of, in a few words; None if it is within the limits or of another format."""
    if contents.startswith(b"\xff\xd8"):
        return _jpeg_excess(contents)
    if contents.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_excess(contents)
    if contents[:4] in _TIFF_HEADERS:
        return _tiff_excess(contents)
    return None


def side_excess(width: int, height: int) -> str | None:
    """Why an image of this size in pixels is too long or too wide; None if it is not."""
    if max(width, height) > MAX_SIDE:
        return f"it has {width:,} x {height:,} pixels, more than {MAX_SIDE:,} per side"
    return None


def _max_parts(contents: bytes) -> int:
    return _MAX_PARTS + len(contents) // _PART


def _png_excess(contents: bytes) -> str | None:
    position, most = 8, _max_parts(contents)
    for _ in range(most):
        if position + 8 > len(contents) or contents[position + 4 : position + 8] == b"IEND":
            return None
        position += 12 + int.from_bytes(contents[position : position + 4], "big")
    return f"it has more than {most:,} PNG chunks"


def _jpeg_excess(contents: bytes) -> str | None:
    position, junk, most = 2, 0, _max_parts(contents)
    components, progressive = b"", False
    for _ in range(most):
        found = _MARKER.search(contents, position)
        junk += (found.start() if found else len(contents)) - position
        if junk > _MAX_JUNK:
            return f"it has more than {_MAX_JUNK:,} bytes between its JPEG segments"
        if not found or (marker := contents[found.end() - 1]) == _EOI:
            return None
        segment, position = found.end(), _after(contents, found.end(), marker)
        if marker in _FRAMES:
            components, progressive = contents[segment + 7 : segment + 8], marker in _PROGRESSIVE
        elif marker == _SOS:
            if not progressive and contents[segment + 2 : segment + 3] == components:
                return None  # decoders stop after this scan, which has all components
            if contents.count(b"\xff\xda", position) >= MAX_SCANS and _has_many_scans(contents, position):
                return f"it has more than {MAX_SCANS} JPEG scans, or too many segments between them"
            return None
    return f"it has more than {most:,} JPEG segments"


def _has_many_scans(contents: bytes, position: int) -> bool:
    """Whether more than MAX_SCANS scans, or too many segments, follow in a JPEG whose first scan is at `position`."""
    scans = 1
    for _ in range(_max_parts(contents)):
        found = _MARKER_IN_SCAN.search(contents, position)
        if not found or (marker := contents[found.end() - 1]) == _EOI:
            return False
        scans += marker == _SOS
        if scans > MAX_SCANS:
            return True
        position = _after(contents, found.end(), marker)
    return True


def _after(contents: bytes, position: int, marker: int) -> int:
    """The position behind the segment of `marker`, whose length is at `position`."""
    length = 0 if marker in _WITHOUT_LENGTH else int.from_bytes(contents[position : position + 2], "big")
    return position + length


def _tiff_excess(contents: bytes) -> str | None:
    order, big = _TIFF_HEADERS[contents[:4]], b"+" in contents[:4]
    try:
        (position,) = struct.unpack_from(order + ("Q" if big else "I"), contents, 8 if big else 4)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), contents, position)
        position += 8 if big else 2
        for _ in range(min(entries, 2**16)):
            tag, _, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), contents, position)
            position += 20 if big else 12
            if tag in _STRIP_TAGS and count > MAX_STRIPS:
                return f"it has {count:,} TIFF strips or tiles, more than {MAX_STRIPS:,}"
    except (struct.error, OverflowError):
        pass  # the decoder reports that the file is truncated
    return None
