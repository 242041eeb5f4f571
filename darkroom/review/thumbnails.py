"""Small images of test examples, from the contact sheets of mistakes that git tracks.

`darkroom/evaluate/contact_sheet.py` writes a sheet and describes its format. A sheet that is missing, too large or
broken gives no thumbnails and no error: the review says the same without them.
"""

import base64
import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from darkroom.review.revision import Revision

if TYPE_CHECKING:
    from PIL import Image

FILE = "metrics/evaluate/contact_sheet.png"
MAX_BYTES = 2 * 2**20
MAX_SIDE = 32  # pixels of a tile
MAX_TILES = 1000


def thumbnails(revisions: Iterable[Revision], ids: Iterable[str]) -> dict[str, str]:
    """The thumbnails of these examples as `data:` URIs of PNG files, by id; examples without one are left out.

    If several revisions have an example, the first one's thumbnail is taken.
    """
    wanted, found = set(ids), {}
    for revision in revisions:
        contents = revision.read(FILE)
        if contents and _is_small(contents):
            found = _tiles(contents, wanted - found.keys()) | found
    return found


def _is_small(contents: bytes) -> bool:
    """Whether a PNG file has so few bytes and pixels that it may be decoded."""
    width, height = (int.from_bytes(contents[start : start + 4], "big") for start in (16, 20))  # of the first chunk
    return len(contents) <= MAX_BYTES and width * height <= MAX_TILES * MAX_SIDE**2


def _tiles(contents: bytes, wanted: set[str]) -> Mapping[str, str]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(contents), formats=["PNG"]) as sheet:
            tile, ids = _layout(sheet)
            sheet.load()
            columns = sheet.width // tile
            places = {name: divmod(number, columns) for number, name in enumerate(ids) if name in wanted}
            return {
                name: _uri(sheet.crop((column * tile, row * tile, (column + 1) * tile, (row + 1) * tile)))
                for name, (row, column) in places.items()
            }
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, RecursionError):  # SyntaxError: of a broken PNG
        return {}


def _layout(sheet: "Image.Image") -> tuple[int, list[str]]:
    """The side of a tile and the examples, checked against the size of the sheet before any pixel is decoded.

    Raises KeyError, TypeError or ValueError.
    """
    tile, ids = int(sheet.info["tile"]), json.loads(sheet.info["ids"])
    if not 1 <= tile <= MAX_SIDE or sheet.width % tile or sheet.height % tile:
        raise ValueError(f"tiles of {tile} pixels")
    tiles = (sheet.width // tile) * (sheet.height // tile)
    if not len(ids) <= tiles <= MAX_TILES or not all(isinstance(name, str) for name in ids):
        raise ValueError(f"{len(ids)} examples on {tiles} tiles")
    return tile, ids


def _uri(image: "Image.Image") -> str:
    file = io.BytesIO()
    image.convert("RGB" if image.mode == "P" else "L").save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
