"""Turn the pixels of an opened image file into plain grey or sRGB: 8 bits per channel, without transparency."""

from collections.abc import Callable, Iterator

from PIL import Image

from darkroom.inputs import colour, depth
from darkroom.inputs.unusable import Unusable

_CONTRAST = 8  # grey levels: content with less of it vanishes
_BAND = 2**20  # pixels processed at a time: bounds the memory for intermediate results
_Box = tuple[int, int, int, int]  # left, top, right, bottom


def is_grey(opened: Image.Image) -> bool:
    """Whether an image that is not loaded yet has no colours."""
    return opened.mode in ("1", "L", "LA", "La", "F", *depth.GREY) or depth.raw_mode(opened) == depth.GREY_ALPHA


def profile_mode(opened: Image.Image) -> str:
    """The mode that the colour profile of an image describes: L, RGB or CMYK."""
    return "CMYK" if opened.mode == "CMYK" else "L" if is_grey(opened) else "RGB"


def flattened(
    opened: Image.Image, contents: bytes, intensity_range: tuple[int, int] | None, factor: int
) -> Image.Image:
    """Decode the pixels of an image in mode L or RGB; `contents` is the file of `opened`, which is not loaded yet.

    Each pixel of the result is the mean of `factor` x `factor` pixels. Values of more than 8 bits are scaled from
    `intensity_range`, their lowest and highest value, or from all 16 bits.
    """
    if opened.mode == "F":
        raise Unusable("its pixels are floating-point numbers of unknown scale: save it with 8 or 16 bits")
    mode = "L" if is_grey(opened) else "RGB"
    converted = colour.conversion(opened, profile_mode(opened)) if opened.mode != "LAB" else None
    deep = depth.Deep(opened, contents, exact=intensity_range is not None) if depth.bits(opened) > 8 else None
    opened.load()
    if opened.mode == mode and not (deep or converted or opened.has_transparency_data):
        return opened.reduce(factor) if factor > 1 else opened

    def layers() -> Iterator[tuple[_Box, Image.Image]]:
        for box in boxes(opened.size, factor):
            yield box, deep.layer(box, intensity_range) if deep else opened.crop(box)

    blend = _blending(layers, opened.format == "BMP")
    found = Image.new(mode, tuple(-(-side // factor) for side in opened.size))
    for box, layer in layers():
        part = _as(blend(layer), converted[0] if converted else mode)
        part = part.reduce(factor) if factor > 1 else part
        found.paste(_as(converted[1](part), mode) if converted else part, (0, box[1] // factor))
    return found


def boxes(size: tuple[int, int], factor: int = 1) -> Iterator[_Box]:
    """Bands of whole rows, each with a multiple of `factor` rows except for the last one."""
    width, height = size
    rows = max(1, _BAND // (width * factor)) * factor
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _as(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _blending(
    layers: Callable[[], Iterator[tuple[_Box, Image.Image]]], is_bmp: bool
) -> Callable[[Image.Image], Image.Image]:
    """How to blend a layer with the ground.

    The ground is white, or black if all content would vanish on white. An alpha channel of a BMP that is zero
    everywhere is ignored: most programs that write 32 bits leave the fourth byte unused.
    """
    least, most, darkest = 255, 0, 255
    for _, layer in layers():
        if not layer.has_transparency_data:
            return lambda layer: layer
        low, high = _rgba(layer).getchannel("A").getextrema()
        least, most = min(least, low), max(most, high)
        darkest = min(darkest, *(low for low, _ in _on(layer, "white").getextrema()[:3]))
    if is_bmp and most == 0:
        return lambda layer: _rgba(layer).convert("RGB")
    ground = "black" if darkest > 255 - _CONTRAST and most - least >= _CONTRAST else "white"
    return lambda layer: _on(layer, ground)


def _rgba(layer: Image.Image) -> Image.Image:
    return (layer.convert("LA") if layer.mode == "La" else layer).convert("RGBA")


def _on(layer: Image.Image, ground: str) -> Image.Image:
    """A layer blended with a ground of one colour, in mode RGBA."""
    rgba = _rgba(layer)
    return Image.alpha_composite(Image.new("RGBA", rgba.size, ground), rgba)
