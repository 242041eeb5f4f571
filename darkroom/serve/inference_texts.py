"""Texts as the input of the Open Inference Protocol."""

import numpy as np

from darkroom.bundle.classifier import Bundle
from darkroom.serve import tensors, text_work
from darkroom.serve.inference_messages import TensorMetadata, TextInput
from darkroom.serve.inference_messages import TextRequest as REQUEST
from darkroom.serve.problems import Problem
from darkroom.serve.service import Served, Service
from darkroom.tokens.text import MAX_CHARACTERS, Unusable

__all__ = ["REQUEST"]

NAME = "texts"


def metadata(bundle: Bundle) -> TensorMetadata:
    """The model's input; `bundle` does not change it."""
    return TensorMetadata(name=NAME, datatype="BYTES", shape=[-1])


def read(service: Service, given: TextInput, raw: memoryview) -> list[str]:
    """The texts of a request's input, in its JSON or in the bytes `raw`; raises Problem."""
    count, *rest = given.shape
    if rest not in ([], [1]):
        raise Problem(400, f"The shape of {NAME} is {given.shape}, but the model needs [texts] or [texts, 1].")
    if count > service.settings.queue:
        raise Problem(413, f"The request has {count:,} texts; the service takes at most {service.settings.queue:,}.")
    if given.data is None:
        return tensors.texts_of_bytes(raw, count, limit=4 * MAX_CHARACTERS)
    return tensors.texts_of_list(given.data, given.shape)


async def infer(service: Service, texts: list[str]) -> tuple[Bundle, np.ndarray, np.ndarray]:
    """The bundle, logits and probabilities, each (N, K) float32; raises Problem."""

    def work(served: Served) -> tuple[Bundle, np.ndarray, np.ndarray]:
        try:
            outcomes = text_work.classify(service.telemetry, served, texts, together=True)
        except Unusable as reason:
            raise Problem(400, f"A text cannot be used: {reason}.") from None
        columns = ([getattr(one, name) for one in outcomes] for name in ("logits", "probabilities"))
        return served.bundle, *map(np.stack, columns)

    return await service.work(work, len(texts), text_work.require_size(texts))
