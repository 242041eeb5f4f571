"""Name the format of a file that is not a supported image, so that its owner knows what to convert."""

from collections.abc import Sequence

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
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_HEIC = (b"hei", b"hev", b"mif1", b"msf1")  # starts of brands, ISO/IEC 23008-12


def why_unidentified(contents: bytes, supported: Sequence[str]) -> str:
    """Why the start of a file is not that of a supported image, in a few words."""
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
