"""Histories as the input of the Open Inference Protocol: ids of items, and the scores of all items as outputs."""

from time import perf_counter

import numpy as np

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.histories import answers, sequences
from darkroom.serve import history_work, tensors
from darkroom.serve.history_work import MAX_ID, MAX_ITEMS
from darkroom.serve.inference_messages import HistoryInput, TensorMetadata
from darkroom.serve.inference_messages import HistoryRequest as REQUEST
from darkroom.serve.problems import Problem
from darkroom.serve.service import Served, Service

__all__ = ["REQUEST"]

NAME = "items"
MAX_OUTPUT = 2**20  # scores of a response
MAX_TOGETHER = 100_000  # ids of a request


def metadata(bundle: Bundle) -> TensorMetadata:
    """The model's input; `bundle` does not change it."""
    return TensorMetadata(name=NAME, datatype="BYTES", shape=[-1, -1])


def read(service: Service, given: HistoryInput, raw: memoryview) -> list[list[str]]:
    """The histories of a request's input, in its JSON or in the bytes `raw`; raises Problem."""
    count, width = given.shape
    most = min(service.settings.queue, max(1, MAX_OUTPUT // len(service.bundle.manifest.classes)))
    if count > most:
        raise Problem(413, f"The request has {count:,} histories; the service takes at most {most:,}.")
    if width > MAX_ITEMS or count * width > MAX_TOGETHER:
        limits = f"{MAX_ITEMS:,} each, and {MAX_TOGETHER:,} together"
        raise Problem(413, f"{count:,} histories have {width:,} items each; the limits are {limits}.")
    if given.data is None:
        ids = tensors.texts_of_bytes(raw, count * width, limit=4 * MAX_ID)
    else:
        ids = tensors.texts_of_list(given.data, given.shape)
    return [[item for item in ids[row * width : (row + 1) * width] if item] for row in range(count)]


async def infer(service: Service, histories: list[list[str]]) -> tuple[Bundle, np.ndarray, np.ndarray]:
    """The bundle, logits and probabilities, each (N, K) float32; raises Problem."""

    def work(served: Served) -> tuple[Bundle, np.ndarray, np.ndarray]:
        recommender, started = served.histories, perf_counter()
        found = [recommender.known(history) for history in histories]
        if empty := [number for number, known in enumerate(found) if not len(known)]:
            raise Problem(400, f"No item of history {empty[0]} is in the catalogue.")
        given = sequences(found, range(len(found)), recommender.length)
        logits, probabilities = answers(served.bundle.session, given)
        seconds = perf_counter() - started
        unknown = (len(history) - len(known) for history, known in zip(histories, found, strict=True))
        columns = zip(found, unknown, logits, probabilities, strict=True)
        chosen = [recommender.chosen(*values, count=1, leave_out_seen=False) for values in columns]
        history_work.record(service.telemetry, served, chosen, seconds)
        return served.bundle, logits, probabilities

    return await service.work(work, len(histories), 8 * sum(map(len, histories)))
