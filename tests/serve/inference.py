"""Inference requests for the service of conftest.py."""

import json

import httpx
import numpy as np

LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/toy/infer"
PIXELS = np.array([[[[0], [255]], [[0], [255]]], [[[255], [255]], [[255], [255]]]], np.uint8)  # half bright, bright
LOGITS = [0.0, 0.0, 0.0, 40.0]
PROBABILITIES = [0.5, 0.5, np.exp(-40, dtype=np.float32), 1.0]
INPUT = {"name": "images", "shape": [2, 2, 2, 1], "datatype": "UINT8", "data": PIXELS.ravel().tolist()}
BINARY_INPUT = {"name": "images", "shape": [2, 2, 2, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 8}}


def infer(client: httpx.Client, raw: bytes | None = None, url: str = INFER, **request) -> httpx.Response:
    """The response to an inference request, with binary data if `raw` is given; `request` are further fields."""
    text = json.dumps({"inputs": [INPUT if raw is None else BINARY_INPUT], **request}).encode()
    headers = {} if raw is None else {LENGTH: str(len(text))}
    return client.post(url, content=text + (raw or b""), headers=headers)
