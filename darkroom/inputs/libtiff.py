"""Silence libtiff, which Pillow uses: it prints up to one line per row of a broken file to the standard error."""

import ctypes
import ctypes.util
from pathlib import Path

import PIL


def silence() -> None:
    """Stop libtiff from printing errors and warnings; Pillow raises the errors in any case."""
    for path in _libraries():
        try:
            library = ctypes.CDLL(path)  # if Pillow has loaded it, this is the same library
            handlers = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
        except (OSError, AttributeError):
            continue
        for set_handler in handlers:
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)


def _libraries() -> list[str]:
    """The libtiff in Pillow's wheel, or else the system's."""
    installed = Path(PIL.__file__).parents[1]
    bundled = [str(path) for folder in ("pillow.libs", "PIL/.dylibs") for path in installed.glob(f"{folder}/libtiff*")]
    system = ctypes.util.find_library("tiff") if not bundled else None
    return bundled + ([system] if system else [])
