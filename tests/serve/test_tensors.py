"""Tests of tensors as JSON and as bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darkroom.serve.problems import Problem
from darkroom.serve.tensors import classification, pixels_of_bytes, pixels_of_list, split, to_bytes, to_list

SHAPE = (1, 2, 3, 1)
PIXELS = np.arange(6, dtype=np.uint8).reshape(SHAPE)


def test_floats_are_four_bytes_little_endian():
    assert to_bytes(np.array([[1.0, -2.0]], np.float32)) == bytes.fromhex("0000803f 000000c0")
    assert to_bytes(np.array([[1.0, -2.0]], ">f4")) == bytes.fromhex("0000803f 000000c0")
    assert to_list(np.array([[1.0, -2.0]], np.float32)) == [1.0, -2.0]


def test_strings_follow_their_length():
    texts = np.array([["a", "é"]], dtype=object)
    assert to_bytes(texts) == b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xa9"
    assert to_list(texts) == ["a", "é"]


@settings(deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=4, max_dims=4, max_side=4)))
def test_pixels_survive_the_round_trip(pixels: np.ndarray):
    for again in (
        pixels_of_bytes(to_bytes(pixels), pixels.shape),
        pixels_of_list(to_list(pixels), pixels.shape),
        pixels_of_list(pixels.tolist(), pixels.shape),
    ):
        assert again.dtype == np.uint8
        np.testing.assert_array_equal(again, pixels)


def test_whole_numbers_may_be_floats():
    floats = [0.0, 1.0, 2, 3.0, 4, 255.0]
    assert pixels_of_list(floats, SHAPE).ravel().tolist() == [0, 1, 2, 3, 4, 255]
    assert pixels_of_list([[[[0.0], [1], [2]], [[3], [4.0], [5]]]], SHAPE).ravel().tolist() == list(range(6))


@pytest.mark.parametrize("raw", [b"", bytes(5), bytes(7)])
def test_the_number_of_bytes_must_fit_the_shape(raw: bytes):
    with pytest.raises(Problem, match=rf"{len(raw)} bytes.*needs 6"):
        pixels_of_bytes(raw, SHAPE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "length 0.*needs 6"),
        ([0] * 7, "length 7.*needs 6"),
        ([0, 0, 0, 0, 0, 256], "between 0 and 255"),
        ([0, 0, 0, 0, 0, -1], "between 0 and 255"),
        ([0, 0, 0, 0, 0, 10**100], "between 0 and 255"),
        ([0, 0, 0, 0, 0, 0.5], "integers"),
        ([0, 0, 0, 0, 0, float("nan")], "integers"),
        ([0, 0, 0, 0, 0, float("inf")], "integers"),
        ([0, 0, 0, 0, 0, 256.0], "between 0 and 255"),
        ([0, 0, 0, 0, 0, 1e300], "between 0 and 255"),
        ([0, 0, 0, 0, 0, True], "integers"),
        ([0, 0, 0, 0, 0, "1"], "integers"),
        ([0, 0, 0, 0, 0, None], "integers"),
        ([0, 0, 0, 0, 0, [1]], "integers"),
        ([[0, 0, 0], [0, 0, 0]], "nested"),
        ([[[[0], [0]], [[0], [0]], [[0], [0]]]], "nested"),  # 3 x 2, not 2 x 3
        ([[[[0], [0], [0]], [[0], [0], 0]]], "nested"),
        ([[[[0], [0], [0]], [[0], [0], [[0]]]]], "integers"),
        ([[]], "nested"),
    ],
)
def test_lists_must_fit_the_shape_and_the_datatype(values: list, message: str):
    with pytest.raises(Problem, match=message):
        pixels_of_list(values, SHAPE)


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8).map(
        lambda value: [value]
    )
)
def test_any_list_gives_a_tensor_or_a_problem(values: list):
    try:
        tensor = pixels_of_list(values, (1, 1, 1, 1))
    except Problem:
        return
    assert tensor.tolist() in (values, [[[values]]])


def test_split_at_the_length_of_the_json():
    assert split(b"{}abc", "2") == (b"{}", b"abc")
    assert split(b"{}", "2") == (b"{}", b"")
    assert split(b"{}abc", None) == (b"{}abc", b"")


@pytest.mark.parametrize("length", ["", "0", "6", "-1", "+2", "2.0", "2_0", "two", "²", "9" * 5000])
def test_an_invalid_length(length: str):
    with pytest.raises(Problem, match="5 bytes"):
        split(b"{}abc", length)


def test_classification_starts_with_the_largest():
    values = np.array([[0.25, 0.5, 0.25], [-1, -3, -2]], np.float32)
    assert classification(values, 2, ("a", "b", "c")).tolist() == [
        ["0.500000:1:b", "0.250000:0:a"],
        ["-1.000000:0:a", "-2.000000:2:c"],
    ]
    assert classification(values, 9, ("a", "b", "c")).shape == (2, 3)
