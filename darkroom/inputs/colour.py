"""Convert the colours of an image to sRGB, as its embedded ICC profile or the gamma value of a PNG says.

Networks see numbers, not colours: without a conversion, a photo in Adobe RGB or Display P3 looks paler than the same
photo in sRGB. An image without profile is taken as sRGB. A profile that is broken, too large, of another colour space
than the pixels, or nearly sRGB changes nothing.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, features

Conversion = Callable[[Image.Image], Image.Image]  # from the pixels of a file in their mode to mode L or RGB, in sRGB

MAX_PROFILE = 2**22  # bytes; the largest common ones, of printing presses, have about 2 MiB
_SPACES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}  # in the header of a profile -> mode of the pixels
_SLOW = b"mpet"  # elements that LittleCMS evaluates one after the other; a small profile can have thousands
_NEAR = 3  # grey levels: profiles of sRGB differ by up to so much in how they round its curve
_GAMMA, _NEAR_GAMMA = 1 / 2.2, 0.05  # the value of sRGB, and the relative difference that libpng neglects
_KEPT = 16  # conversions in memory, of up to 2 MB each

BROKEN = "its colour profile is broken"
UNAVAILABLE = "its colour profile is not applied, because Pillow was built without LittleCMS"


def conversion(opened: Image.Image, mode: str) -> tuple[str, Conversion] | None:
    """The mode that pixels must have before their conversion to sRGB, and the conversion; None if they stay.

    `mode` is that of the pixels without transparency: L or RGB; of a printed image, CMYK.
    """
    if profile := _profile(opened):
        found = _of_profile(profile, mode)
        return (mode, found) if callable(found) else None
    gamma = opened.info.get("gamma")
    if mode == "CMYK" or gamma is None or "srgb" in opened.info:
        return None
    found = _of_gamma(gamma)
    return (mode, found) if found else None


def remark(opened: Image.Image, mode: str) -> str:
    """Why the profile of an image is not applied although it should be; empty if there is no reason."""
    profile = _profile(opened)
    found = _of_profile(profile, mode) if profile else None
    return found if isinstance(found, str) else ""


def _profile(opened: Image.Image) -> bytes | None:
    """The embedded profile; in a damaged TIFF, it may be numbers."""
    found = opened.info.get("icc_profile")
    return found if found is None or isinstance(found, bytes) else b"broken"


@lru_cache(_KEPT)
def _of_profile(profile: bytes, mode: Literal["L", "RGB", "CMYK"]) -> Conversion | str | None:
    """The conversion from the colours of a profile, why there is none, or None if it would change nothing."""
    if not features.check("littlecms2"):
        return UNAVAILABLE
    if len(profile) > MAX_PROFILE or _SLOW in profile:
        return f"its colour profile has more than {MAX_PROFILE:,} bytes or elements that take long"
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return BROKEN
    if _SPACES.get(profile[16:20]) != mode:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        flags = (
            ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        )  # exact; slow, but for 256 levels only
        transform = ImageCms.ImageCmsTransform(source, target, mode, "RGB", flags=flags)
        probe = _probe(mode)
        seen = transform.apply(probe)
    except (OSError, ValueError, TypeError, MemoryError, ImageCms.PyCMSError):
        return BROKEN
    if mode == "L":
        return _by_table(np.asarray(seen.convert("L")).ravel())
    if mode == "RGB" and np.abs(np.asarray(seen, np.int16) - np.asarray(probe, np.int16)).max() <= _NEAR:
        return None
    return transform.apply


def _probe(mode: str) -> Image.Image:
    """All levels of grey, or a grid of colours."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9, dtype=np.uint8)
    return Image.fromarray(
        np.stack(np.meshgrid(*[steps] * len(mode), indexing="ij"), -1).reshape(1, -1, len(mode)), mode
    )


@lru_cache(_KEPT)
def _of_gamma(gamma: float) -> Conversion | None:
    """The conversion of a PNG whose levels are the power `gamma` of the light."""
    if not 0.01 < gamma < 100 or abs(gamma / _GAMMA - 1) <= _NEAR_GAMMA:
        return None
    light = (np.arange(256) / 255) ** (1 / gamma)
    levels = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return _by_table(np.round(255 * levels).astype(np.uint8))


def _by_table(levels: np.ndarray) -> Conversion | None:
    """The conversion of each level to that in `levels` (256,) uint8; None if they hardly differ."""
    if np.abs(levels.astype(np.int16) - np.arange(256)).max() <= _NEAR:
        return None
    table = levels.tolist()
    return lambda image: image.point(table * len(image.mode))
