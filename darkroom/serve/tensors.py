"""Tensors of the Open Inference Protocol: as lists in JSON, or as bytes after the JSON.

    datatype   numpy     JSON                    bytes
    UINT8      uint8     integers, 0 to 255      one each
    FP32       float32   numbers                 four each, little-endian
    BYTES      object    strings                 UTF-8, each after its length as four bytes, little-endian

Both are row-major without padding. A list is flat or nested to the shape. The bytes of several tensors follow each
other in the order of the JSON:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import re
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from darkroom.serve.problems import Problem

DATATYPES = {np.dtype(np.uint8): "UINT8", np.dtype(np.float32): "FP32", np.dtype(object): "BYTES"}


def split(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
    """Split a body into the JSON and the bytes after it.

    `json_length` is the header Inference-Header-Content-Length; None means that the whole body is JSON. Raises
    Problem 400 if it is not a valid length.
    """
    if json_length is None:
        return body, memoryview(b"")
    if not re.fullmatch(r"[0-9]{1,18}", json_length) or not 1 <= int(json_length) <= len(body):
        raise Problem(
            400,
            "Inference-Header-Content-Length must be the length of the JSON, "
            f"from 1 to the body's {len(body):,} bytes.",
        )
    return body[: int(json_length)], memoryview(body)[int(json_length) :]


def pixels_of_list(values: list[Any], shape: Sequence[int]) -> np.ndarray:
    """A uint8 tensor from a JSON list.

    Raises Problem 400 unless the list is flat or nested to `shape`, and holds integers from 0 to 255, which may be
    written as floats (7.0).
    """
    if values and isinstance(values[0], list):
        values = _flattened(values, shape)
    elif len(values) != math.prod(shape):
        raise Problem(400, f"data has length {len(values):,}, but the shape {list(shape)} needs {math.prod(shape):,}.")
    types = set(map(type, values))
    if float in types:
        values, types = _whole(values), types - {float}
    if not types <= {int}:  # excludes bool, which is a subclass of int only in Python
        raise Problem(400, "data of datatype UINT8 must be integers.")
    try:
        return np.frombuffer(bytes(values), np.uint8).reshape(shape)
    except ValueError:
        raise Problem(400, "data of datatype UINT8 must be between 0 and 255.") from None


def pixels_of_bytes(raw: bytes | memoryview, shape: Sequence[int]) -> np.ndarray:
    """A uint8 tensor from bytes, a read-only view. Raises Problem 400 unless their number fits `shape`."""
    if len(raw) != math.prod(shape):
        raise Problem(
            400, f"The binary data has {len(raw):,} bytes, but the shape {list(shape)} needs {math.prod(shape):,}."
        )
    return np.frombuffer(raw, np.uint8).reshape(shape)


def texts_of_list(values: list[Any], shape: Sequence[int]) -> list[str]:
    """N texts from a JSON list of strings; raises Problem 400 unless it is flat or nested to `shape`, (N) or (N, 1)."""
    if values and isinstance(values[0], list):
        values = _flattened(values, shape)
    elif len(values) != math.prod(shape):
        raise Problem(400, f"data has length {len(values):,}, but the shape {list(shape)} needs {math.prod(shape):,}.")
    if not all(isinstance(value, str) for value in values):
        raise Problem(400, "data of datatype BYTES must be strings.")
    return values


def texts_of_bytes(raw: memoryview, count: int, limit: int) -> list[str]:
    """`count` texts from bytes.

    Raises Problem 400 unless the lengths fit and all is UTF-8, 413 if a text has more than `limit` bytes.
    """
    texts, place = [], 0
    for number in range(count):
        if place + 4 > len(raw):
            raise Problem(400, f"The binary data ends before text {number} of {count}.")
        [length] = struct.unpack_from("<I", raw, place)
        if length > limit:
            raise Problem(413, f"Text {number} has {length:,} bytes; the limit is {limit:,}.")
        place += 4 + length
        if place > len(raw):
            raise Problem(400, f"The binary data ends within text {number} of {count}.")
        try:
            texts.append(str(raw[place - length : place], "utf-8"))
        except UnicodeDecodeError:
            raise Problem(400, f"Text {number} is not UTF-8.") from None
    if place != len(raw):
        raise Problem(400, f"The binary data has {len(raw) - place:,} bytes after the last text.")
    return texts


def to_list(tensor: np.ndarray) -> list[Any]:
    """The elements of a tensor as a flat list for JSON."""
    return tensor.ravel().tolist()


def to_bytes(tensor: np.ndarray) -> bytes:
    """The elements of a tensor as bytes."""
    if tensor.dtype == object:
        texts = [text.encode() for text in tensor.flat]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()


def classification(values: np.ndarray, count: int, labels: Sequence[str]) -> np.ndarray:
    """The `count` largest values per row of (N, K), largest first, as strings "value:index:label" (N, <= K) object.

    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
    """
    best = np.argsort(-values, axis=1, kind="stable")[:, :count]
    texts = [
        [f"{row[index]:f}:{index}:{labels[index]}" for index in indices]
        for row, indices in zip(values, best, strict=True)
    ]
    return np.array(texts, dtype=object)


def _whole(values: list[Any]) -> list[Any]:
    """Convert floats to integers: some clients write all numbers as floats. Raises Problem 400 for fractions."""
    if not all(value.is_integer() for value in values if type(value) is float):
        raise Problem(400, "data of datatype UINT8 must be integers.")
    return [int(value) if type(value) is float else value for value in values]


def _flattened(values: list[Any], shape: Sequence[int]) -> list[Any]:
    """The elements of nested lists, which must have exactly this shape."""
    lists: list[Any] = [values]
    for length in shape:
        if not all(isinstance(one, list) and len(one) == length for one in lists):
            raise Problem(400, f"data must be flat or nested to its shape {list(shape)}.")
        lists = list(chain.from_iterable(lists))
    return lists
