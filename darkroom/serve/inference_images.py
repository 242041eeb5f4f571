"""Images as the input of the Open Inference Protocol."""

import numpy as np

from darkroom.bundle.classifier import INPUT as NAME
from darkroom.bundle.classifier import Bundle
from darkroom.serve import tensors
from darkroom.serve.inference_messages import ImageInput, TensorMetadata
from darkroom.serve.inference_messages import ImageRequest as REQUEST
from darkroom.serve.problems import Problem
from darkroom.serve.service import Service

__all__ = ["NAME", "REQUEST"]

MAX_SIDE = 2**14  # pixels: the memory of the graph's resize operator grows with the longer side
MAX_VALUES = 2**24  # of one image: resizing takes about 33 bytes for each


def metadata(bundle: Bundle) -> TensorMetadata:
    """The model's input."""
    return TensorMetadata(name=NAME, datatype="UINT8", shape=[-1, -1, -1, bundle.manifest.shape[2]])


def read(service: Service, given: ImageInput, raw: memoryview) -> np.ndarray:
    """The images (N, h, w, C) uint8 of a request's input, in its JSON or in the bytes `raw`; raises Problem."""
    _, height, width, channels = given.shape
    max_pixels = service.max_pixels(service.bundle)
    if max(height, width) > MAX_SIDE:
        raise Problem(413, f"The images have {height:,} x {width:,} pixels; the limit is {MAX_SIDE:,} per side.")
    if height * width > max_pixels:
        raise Problem(413, f"The images have {height:,} x {width:,} pixels; the limit is {max_pixels:,} pixels.")
    if height * width * channels > MAX_VALUES:
        raise Problem(413, f"The images have {height * width * channels:,} values each; the limit is {MAX_VALUES:,}.")
    if given.data is None:
        return tensors.pixels_of_bytes(raw, given.shape)
    return tensors.pixels_of_list(given.data, given.shape)


async def infer(service: Service, images: np.ndarray) -> tuple[Bundle, np.ndarray, np.ndarray]:
    """The bundle, logits and probabilities, each (N, K) float32; raises Problem."""
    channels = service.bundle.manifest.shape[2]  # of the current bundle: a reload may have replaced it meanwhile
    if (found := list(images.shape))[3] != channels:
        raise Problem(400, f"The shape of {NAME} is {found}, but the model needs [images, height, width, {channels}].")
    return await service.infer(images)
