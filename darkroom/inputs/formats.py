"""Name the format of a file that is not a supported image, so that its owner knows what to convert."""

from collections.abc import Sequence

from darkroom.inputs import tiff

_STARTS = {
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\xbc\x01": "JPEG XR",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
}
_DAMAGED = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
}
_SUPPORTED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes in bytes
START = 512  # bytes from which `is_image` recognises a format
_HEIC = (b"hei", b"hev", b"mif1", b"msf1")  # starts of brands, ISO/IEC 23008-12


def is_image(start: bytes) -> bool:
    """Whether a file that begins with `start` is an image, of a supported format or not; a PDF is not."""
    if start.startswith(b"BM"):
        return int.from_bytes(start[14:18], "little") in _BMP_HEADERS
    if start.startswith(b"RIFF"):
        return start[8:12] == b"WEBP"
    return start.startswith(_SUPPORTED) or tiff.is_tiff(start) or _name(start) not in (None, "PDF")


def why_unidentified(contents: bytes, supported: Sequence[str]) -> str:
    """Why the start of a file is not that of a supported image, in a few words."""
    if tiff.is_tiff(contents):
        return tiff.why_unidentified(contents)
    for start, name in _DAMAGED.items():
        if contents.startswith(start):
            return f"its {name} header is damaged"
    reason = f"not a supported image format ({', '.join(supported)})"
    name = _name(contents)
    return f"it is {name}, {reason}: convert it to JPEG or PNG" if name else f"it is {reason}"


def _name(contents: bytes) -> str | None:
    """The name of a known format that is not supported."""
    if contents[4:8] == b"ftyp":  # a box of brands
        brands = contents[8 : int.from_bytes(contents[:4], "big")][:256]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIC" if brands.startswith(_HEIC) else None
    if contents[128:132] == b"DICM":
        return "DICOM"
    return next((name for start, name in _STARTS.items() if contents.startswith(start)), None)
