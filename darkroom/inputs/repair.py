"""Repair JPEG and PNG files whose pixels are whole but that Pillow refuses, as cameras and editors write them."""

import hashlib
import io
import re
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TEXTS = {b"tEXt": 1, b"zTXt": 1, b"iCCP": 1, b"iTXt": 3}  # chunk -> null characters before its text or profile
_SHORTEST = {(0xE0, b"JFIF"): 14, (0xEE, b"Adobe"): 12, (0xE2, b"ICC_PROFILE\0"): 14}  # bytes that decoders rely on
_EOI = b"\xff\xd9"
_NOISE = bytes((91 * number + 219) % 255 for number in range(64))  # bytes of JPEG data; the first bit is 1
_ROWS = 64  # of pixels in a digest at a time
_RESTARTS = b"".join(bytes([0xFF, 0xD0 + number]) + _NOISE for number in range(8))


def attempts(contents: bytes) -> Iterator[bytes]:
    """Versions of a file without the metadata that Pillow may refuse, the least changed one first."""
    if contents.startswith(_PNG):
        chunks = list(_chunks(contents))
        for kept in (_is_sound, _is_needed):
            repaired = _PNG + b"".join(chunk for chunk in chunks if kept(chunk))
            if repaired != contents:
                yield repaired
    elif contents.startswith(_JPEG) and (repaired := _without_short_segments(contents)) != contents:
        yield repaired


def has_end(contents: bytes) -> bool:
    """Whether a JPEG has an end marker after the start of its pixels. Zeros may follow a part of a file instead."""
    return contents.find(_EOI, _start_of_pixels(contents)) >= 0


def completed(contents: bytes) -> bytes | None:
    """A JPEG without end marker, with one; None if pixels are missing.

    Decodes the image twice, followed by two different continuations. If no pixel depends on what follows, none is
    missing. So the caller must check the size of the image first.
    """
    contents = end = _without_short_segments(contents)
    if end.endswith(b"\0\0"):  # zeros instead of the rest of a file, not bytes of the pixels
        end = end.rstrip(b"\0")
    if end.endswith(b"\xff"):  # of a stuffed byte, or of the end marker
        end = end + b"\0" if end != contents else end[:-1]
    if not _has_all_scans(end):
        return None
    try:
        first, second = (_digest(end + following + _EOI) for following in (b"", _NOISE + _RESTARTS))
    except (OSError, SyntaxError, ValueError):
        return None
    return end + _EOI if first == second else None


def _digest(contents: bytes) -> bytes:
    """A digest of the pixels; two images in memory would take too much."""
    image, digest = Image.open(io.BytesIO(contents), formats=("JPEG",)), hashlib.blake2b()
    image.load()
    for top in range(0, image.height, _ROWS):
        digest.update(image.crop((0, top, image.width, min(top + _ROWS, image.height))).tobytes())
    return digest.digest()


def _chunks(contents: bytes) -> Iterator[bytes]:
    """The chunks of a PNG: length, type, data and checksum; the last one may be truncated."""
    position = len(_PNG)
    while position < len(contents):
        end = position + 12 + int.from_bytes(contents[position : position + 4], "big")
        yield contents[position:end]
        position = end


def _is_needed(chunk: bytes) -> bool:
    """Whether decoders need the chunk, or it says which pixels are transparent."""
    return not chunk[4] & 0x20 or chunk[4:8] == b"tRNS" if len(chunk) > 4 else True


def _is_sound(chunk: bytes) -> bool:
    """Whether a chunk is needed, or its checksum is correct and it is not too large for Pillow."""
    if len(chunk) < 12 or not chunk[4] & 0x20:
        return True
    kind, data = chunk[4:8], chunk[8:-4]
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        return False
    if kind not in _TEXTS:
        return True
    most = PngImagePlugin.MAX_TEXT_CHUNK
    if len(data) > most or kind == b"tEXt":
        return len(data) <= most
    compressed = data.split(b"\0", _TEXTS[kind])[-1].removeprefix(b"\0")
    try:
        return len(zlib.decompressobj().decompress(compressed, most + 1)) <= most
    except zlib.error:  # not compressed
        return True


def _without_short_segments(contents: bytes) -> bytes:
    """A JPEG without application segments that are shorter than their kind requires, which decoders ignore."""
    segments = list(_segments(contents))
    kept = [segment for segment in segments if not _is_short(segment)]
    return b"".join([_JPEG, *kept, contents[_start_of_pixels(contents) :]])


def _is_short(segment: bytes) -> bool:
    shortest = (
        size for (marker, name), size in _SHORTEST.items() if segment[1] == marker and segment[4:].startswith(name)
    )
    return len(segment) - 4 < next(shortest, 0)


def _start_of_pixels(contents: bytes) -> int:
    return len(_JPEG) + sum(map(len, _segments(contents)))


def _segments(contents: bytes) -> Iterator[bytes]:
    """The segments of a JPEG before its pixels: marker, length and data."""
    position = len(_JPEG)
    while contents[position : position + 1] == b"\xff" and len(contents) >= position + 4:
        marker = contents[position + 1]
        length = int.from_bytes(contents[position + 2 : position + 4], "big")
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xDA or length < 2:  # the pixels, or not a segment
            return
        yield contents[position : position + 2 + length]
        position += 2 + length


def _has_all_scans(contents: bytes) -> bool:
    """Whether the scans of a JPEG cover all components; of a progressive one, all bits of all coefficients."""
    components: bytes = b""
    progressive = False
    missing: dict[tuple[int, int], int] = {}  # component, coefficient -> bits that no scan has yet
    position = len(_JPEG)
    while found := re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]").search(contents, position):
        marker, start = contents[found.end() - 1], found.end()
        length = int.from_bytes(contents[start : start + 2], "big")
        segment, position = contents[start + 2 : start + length], start + length
        if marker in (0xC0, 0xC1, 0xC2) and not components:
            components, progressive = segment[6::3], marker == 0xC2
            missing = {(one, number): 14 for one in components for number in range(64 if progressive else 1)}
        elif marker == 0xDA and len(segment) > 4:
            names, (first, last, bits) = segment[1 : 1 + 2 * segment[0] : 2], segment[-3:]
            for one in names:
                for number in range(first, last + 1 if progressive else 1):
                    if (one, number) in missing:
                        missing[one, number] = bits & 15
    return bool(missing) and not any(missing.values())
