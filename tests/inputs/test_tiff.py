"""TIFF files are decoded as their pixels say, or refused: never decoded as something else."""

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.inputs.image import Unusable, decode, probe
from tests.inputs import tiffs

RANDOM = np.random.default_rng(0)
HEIGHT, WIDTH = 21, 18
BYTES = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
WORDS = RANDOM.integers(0, 2**16, (HEIGHT, WIDTH, 4), dtype=np.uint16)
EXTRA = 338  # the tag of further channels: 0 (of unknown meaning), 1 (associated alpha), 2 (unassociated alpha)
FORMAT, COLOURS, SUBSAMPLING = 339, 320, 530
LAYOUTS = [
    {"planar": planar, "order": order, "deflate": deflate, **parts, "predictor": predictor}
    for planar, order, parts, (deflate, predictor) in itertools.product(
        (1, 2), "<>", ({}, {"rows": 5}, {"tile": 16}), ((False, 1), (True, 1), (True, 2))
    )
]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: " ".join(map(str, layout.values())))


def pixels(contents: bytes, channels: int = 3) -> np.ndarray:
    return decode(contents, (HEIGHT, WIDTH), channels, "stretch", 10_000)


def short(*values: int) -> tuple[str, list[int]]:
    return "H", list(values)


def opaque(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[..., -1] = np.iinfo(values.dtype).max
    return values


@layouts
@pytest.mark.parametrize("values", [BYTES, WORDS], ids=["8 bits", "16 bits"])
def test_colours_in_any_layout(values: np.ndarray, layout: dict):
    expected = (values >> 8 * (values.itemsize - 1)).astype(np.uint8)[..., :3]
    for contents in (
        tiffs.encode(values[..., :3], 2, **layout),
        tiffs.encode(opaque(values), 2, tags={EXTRA: short(2)}, **layout),
        tiffs.encode(opaque(values), 2, tags={EXTRA: short(1)}, **layout),
        tiffs.encode(values, 2, tags={EXTRA: short(0)}, **layout),
    ):
        assert np.array_equal(pixels(contents), expected)


@layouts
@pytest.mark.parametrize("values", [BYTES, WORDS], ids=["8 bits", "16 bits"])
def test_grey_in_any_layout(values: np.ndarray, layout: dict):
    expected = (values >> 8 * (values.itemsize - 1)).astype(np.uint8)[..., :1]
    assert np.array_equal(pixels(tiffs.encode(values[..., :1], 1, **layout), 1), expected)
    if values.itemsize == 1:
        assert np.array_equal(pixels(tiffs.encode(255 - values[..., :1], 0, **layout), 1), expected)


@layouts
def test_a_palette_of_8_or_16_bits(layout: dict):
    palette = RANDOM.integers(0, 256, (3, 256))
    for scale in (1, 257):
        contents = tiffs.encode(BYTES[..., :1], 3, tags={COLOURS: short(*(scale * palette).ravel())}, **layout)
        assert np.array_equal(pixels(contents), palette.T[BYTES[..., 0]])


def to_rgb(values: np.ndarray) -> np.ndarray:
    """Convert YCbCr (..., 3) to RGB by ITU-R 601."""
    luma, blue, red = values[..., 0].astype(float), values[..., 1] - 128.0, values[..., 2] - 128.0
    return np.clip(
        np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], -1), 0, 255
    )


@layouts
def test_luma_and_chroma(layout: dict):
    contents = tiffs.encode(BYTES[..., :3], 6, tags={SUBSAMPLING: short(1, 1)}, **layout)
    assert np.abs(pixels(contents) - to_rgb(BYTES[..., :3])).max() <= 2


def test_subsampled_chroma():
    luma = RANDOM.integers(0, 256, (HEIGHT + 1, WIDTH), dtype=np.uint8)
    chroma = RANDOM.integers(0, 256, ((HEIGHT + 1) // 2, WIDTH // 2, 2), dtype=np.uint8)
    blocks = luma.reshape(len(chroma), 2, WIDTH // 2, 2).transpose(0, 2, 1, 3).reshape(*chroma.shape[:2], 4)
    data = np.concatenate([blocks, chroma], axis=2).tobytes()  # four values of luma, then blue and red
    fields = {256: WIDTH, 257: HEIGHT + 1, 259: 1, 262: 6, 273: 0, 277: 3, 278: HEIGHT + 1, 279: len(data)}
    tags = {tag: ("I", [value]) for tag, value in fields.items()} | {258: short(8, 8, 8), SUBSAMPLING: short(2, 2)}
    full = np.concatenate([luma[..., None], chroma.repeat(2, axis=0).repeat(2, axis=1)], axis=2)
    found = decode(tiffs.assemble(tags, [data], 273), luma.shape, 3, "stretch", 10_000)
    assert np.abs(found - to_rgb(full)).max() <= 2


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_files(compression: str):
    smooth = Image.fromarray(BYTES[..., :3]).resize((2, 2)).resize((WIDTH, HEIGHT))
    buffer = io.BytesIO()
    smooth.save(buffer, "TIFF", compression=compression)
    tolerance = 12 if compression == "jpeg" else 0
    assert np.abs(pixels(buffer.getvalue()).astype(int) - np.asarray(smooth)).max() <= tolerance


@layouts
def test_transparent_grey(layout: dict):
    alpha = np.where(BYTES[..., 1:2] > 127, np.uint8(255), np.uint8(0))
    grey = BYTES[..., :1] * (alpha > 0)
    for kind in (1, 2):
        contents = tiffs.encode(np.concatenate([grey, alpha], 2), 1, tags={EXTRA: short(kind)}, **layout)
        if layout["planar"] == 1:
            assert np.array_equal(pixels(contents, 1), np.where(alpha, grey, 255))
        else:
            with pytest.raises(Unusable, match="a TIFF of an unsupported kind"):
                pixels(contents, 1)


@layouts
@pytest.mark.parametrize("kind", ["u4", "i4", "i2"])
def test_integers_of_other_types(kind: str, layout: dict):
    levels = np.linspace(0, 32_767, HEIGHT * WIDTH).astype(kind).reshape(HEIGHT, WIDTH, 1)
    contents = tiffs.encode(levels, 1, tags={FORMAT: short(2 if kind[0] == "i" else 1)}, **layout)
    try:
        assert np.array_equal(pixels(contents, 1), levels >> 8)
    except Unusable as reason:
        assert kind == "u4" and layout["order"] == ">" and "a TIFF of an unsupported kind" in str(reason)


@pytest.mark.parametrize(
    ("values", "photometric", "tags"),
    [
        (BYTES[..., :1], 1, {FORMAT: short(2)}),  # signed: -1 would be white
        (BYTES[..., :1].astype(np.float64), 1, {FORMAT: short(3)}),
        (WORDS[..., :2], 1, {EXTRA: short(2)}),
        (WORDS[..., :1], 3, {COLOURS: short(*[0] * (3 << 16))}),
        (BYTES[..., :2], 1, {}),
        (BYTES[..., :1], 32_803, {}),  # of a camera's sensor
        (BYTES[..., :1], 1, {259: short(34_712)}),  # JPEG 2000
    ],
)
def test_unsupported_kinds_are_refused_as_such(values: np.ndarray, photometric: int, tags: tiffs.Tags):
    with pytest.raises(Unusable, match="a TIFF of an unsupported kind"):
        pixels(tiffs.encode(values, photometric, tags=tags))


def test_a_damaged_header_is_not_an_unsupported_kind():
    with pytest.raises(Unusable, match="header is damaged"):
        probe(b"II*\0\x08\0\0\0\x01\0")


@settings(max_examples=300, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    channels=st.sampled_from([1, 3]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_are_decoded_or_refused(layout: dict, channels: int, cut: float, flips: list[tuple[float, int]]):
    whole = tiffs.encode(WORDS[..., :channels], 1 if channels == 1 else 2, **layout)
    contents = bytearray(whole)
    for position, value in flips:
        contents[int(position * len(contents))] = value
    for damaged in (bytes(contents), bytes(contents[: int(cut * len(contents))])):
        try:
            decode(damaged, (5, 4), 3, "crop", 10_000, (100, 9_000))
        except Unusable as reason:
            assert "\n" not in str(reason)


@layouts
def test_a_truncated_file_is_refused(layout: dict):
    whole = tiffs.encode(WORDS[..., :3], 2, **layout)
    for end in range(len(whole) - 40, len(whole), 3):
        with pytest.raises(Unusable):
            pixels(whole[:end])
