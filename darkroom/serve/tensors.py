"""Tensors as the Open Inference Protocol sends them: as lists in JSON, or as bytes behind it.

    datatype   numpy     JSON                    bytes
    UINT8      uint8     integers, 0 to 255      one each
    FP32       float32   numbers                 four each, little-endian
    BYTES      object    texts                   UTF-8, the length before each as four bytes, little-endian

Both are row-major and without padding; a list is flat or nested as the shape says. The bytes of several tensors follow each
other in the order in which the JSON names them: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
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
    """The JSON of a body and the bytes behind it, by the value of the header Inference-Header-Content-Length.

    None: all is JSON. Raises Problem 400 where it is no such length.
    """
    if json_length is None:
        return body, memoryview(b"")
    if not re.fullmatch(r"[0-9]{1,18}", json_length) or not 1 <= int(json_length) <= len(body):
        raise Problem(
            400, f"Inference-Header-Content-Length must be the length of the JSON, 1 to the body's {len(body):,} bytes."
        )
    return body[: int(json_length)], memoryview(body)[int(json_length) :]


def pixels_of_list(values: list[Any], shape: Sequence[int]) -> np.ndarray:
    """The UINT8 tensor of a list from JSON; raises Problem 400 unless it is flat or nested as `shape`, and of integers 0 to 255."""
    if values and isinstance(values[0], list):
        values = _flattened(values, shape)
    elif len(values) != math.prod(shape):
        raise Problem(400, f"data has length {len(values):,}, but the shape {list(shape)} needs {math.prod(shape):,}.")
    if not set(map(type, values)) <= {int}:  # bool is refused: it is an int to Python alone
        raise Problem(400, "data of UINT8 must hold integers.")
    try:
        return np.frombuffer(bytes(values), np.uint8).reshape(shape)
    except ValueError:
        raise Problem(400, "data of UINT8 must be between 0 and 255.") from None


def pixels_of_bytes(raw: bytes | memoryview, shape: Sequence[int]) -> np.ndarray:
    """The UINT8 tensor of so many bytes, not copied and thus read-only; raises Problem 400 unless they are as many as `shape` needs."""
    if len(raw) != math.prod(shape):
        raise Problem(
            400, f"The binary data has {len(raw):,} bytes, but the shape {list(shape)} needs {math.prod(shape):,}."
        )
    return np.frombuffer(raw, np.uint8).reshape(shape)


def to_list(tensor: np.ndarray) -> list[Any]:
    """The elements of a tensor for JSON, flat."""
    return tensor.ravel().tolist()


def to_bytes(tensor: np.ndarray) -> bytes:
    """The elements of a tensor as bytes."""
    if tensor.dtype == object:
        texts = [text.encode() for text in tensor.flat]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()


def classification(values: np.ndarray, count: int, labels: Sequence[str]) -> np.ndarray:
    """The `count` largest of each row of values (N, K), largest first, as texts "value:index:label": (N, at most K) object.

    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
    """
    best = np.argsort(-values, axis=1, kind="stable")[:, :count]
    texts = [
        [f"{row[index]:f}:{index}:{labels[index]}" for index in indices]
        for row, indices in zip(values, best, strict=True)
    ]
    return np.array(texts, dtype=object)


def _flattened(values: list[Any], shape: Sequence[int]) -> list[Any]:
    """The elements of nested lists, which must have exactly this shape."""
    lists: list[Any] = [values]
    for length in shape:
        if not all(isinstance(one, list) and len(one) == length for one in lists):
            raise Problem(400, f"data must be flat, or nested as its shape {list(shape)} says.")
        lists = list(chain.from_iterable(lists))
    return lists
