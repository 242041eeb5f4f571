"""Export a network of histories: a graph from items to the probabilities of the next one, and the table of items.

There may be so many items that the logits of all test histories do not fit in memory: they are compared in blocks.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darkroom.bundle import classifier, drift
from darkroom.bundle import histories as bundled
from darkroom.bundle.classifier import ITEMS, OUTPUTS, VARIANTS
from darkroom.bundle.histories import PADDING
from darkroom.bundle.manifest import Events, HistoryManifest
from darkroom.core.randomness import numpy_generator
from darkroom.export import bundling, dynamic, gates
from darkroom.export.config import ExportConfig, Int8Config
from darkroom.export.graph import convert
from darkroom.models.checkpoints import Trained
from darkroom.models.histories import HistoryNetwork
from darkroom.recommend import ranking
from darkroom.recommend.config import RankingConfig
from darkroom.recommend.histories import left_out

ARRAYS = "data/arrays"
GOLDEN_HISTORIES = 4
ALONE = 100  # test histories that are also compared one at a time
TIE = 1e-4  # which of two items comes first whose logits differ less depends on rounding
_COMPARED = 2**21  # logits that are compared at a time


class Histories:
    """The exported files of a trained network of histories, and their checks on the test set."""

    def __init__(
        self, trained: Trained, calibration: Mapping[str, Any], ranked: RankingConfig, settings: ExportConfig, seed: int
    ):
        self._trained, self._calibration, self._settings = trained, calibration, settings
        length, self._items = trained.description.shape[0], len(trained.description.classes)
        model = dynamic.Classifier(_with_item_vectors(trained.network), calibration["temperature"])
        given = torch.ones(2, min(7, length), dtype=torch.int64)
        sizes = {"inputs": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=length)}}
        program = torch.export.export(model.eval(), (given,), dynamic_shapes=sizes)
        graph = convert(program, sizes, ITEMS, OUTPUTS, settings.opset)
        graphs = {"fp32": graph, "int8": dynamic.quantised(graph)}
        self.models = {variant: dynamic.contents(graph, trained, calibration) for variant, graph in graphs.items()}
        self._sessions = {
            variant: classifier.open_session(model, trained.threads) for variant, model in self.models.items()
        }
        self._described = (Path(ARRAYS) / bundled.FILE).read_bytes()
        self._catalogue = bundled.read(self._described, trained.description.classes)
        self._test = trained.split("test")
        self._left_out = left_out(ARRAYS, "test", ranked.seen_items)

    def require_parity(
        self, predict: Callable[[np.ndarray], np.ndarray], tolerance: float
    ) -> tuple[np.ndarray, dict[str, float]]:
        """As of images, on all test histories, and on some one at a time; classes are the recommended items.

        Logits are those of all items, also of those that are not recommended.
        """
        session, inputs, found, labels = self._sessions["fp32"], self._test.inputs, [], []
        size, step = max(1, _COMPARED // self._items), max(1, len(inputs) // ALONE)
        for block in ranking.blocks(
            len(inputs), self._items
        ):  # as in `evaluate`: in other blocks, the last bits would differ
            expected, given = predict(inputs[block]), inputs[block]
            labels.append(self._recommended(expected, block))
            parts = [slice(start, start + size) for start in range(0, len(given), size)]
            for part in (*parts, *(slice(row, row + 1) for row in range(0, len(given), step))):
                found.append(gates.compare(expected[part], *bundled.answers(session, given[part]), tolerance, TIE))
        worst = max(numbers["max_abs_difference"] for numbers in found)
        ties = sum(numbers["label_disagreements"] for numbers in found)
        return np.concatenate(labels), {
            "max_abs_difference": worst,
            "label_disagreements": ties,
            "samples": len(inputs),
        }

    def measure_speedup(self) -> float:
        """As `gates.measure_speedup`, on one history of the median length."""
        lengths = (self._test.inputs != PADDING).sum(1)
        chosen = np.argsort(lengths, kind="stable")[len(lengths) // 2]
        feeds = {ITEMS: self._test.inputs[chosen : chosen + 1, : max(1, lengths[chosen])].astype(np.int64)}
        return dynamic.speedup(self.models, feeds)

    def classify_int8(self, _: np.ndarray, __: Int8Config) -> tuple[np.ndarray, np.ndarray]:
        """Indices (n,) and items (n,) that int8 recommends, for all test histories."""
        session, inputs = self._sessions["int8"], self._test.inputs
        blocks = ranking.blocks(len(inputs), self._items)
        found = [self._recommended(bundled.answers(session, inputs[part])[0], part) for part in blocks]
        return np.arange(len(inputs)), np.concatenate(found)

    def files(self) -> dict[str, bytes]:
        """The contents of the bundle's files by name; int8 is left out if it was taken out of `models`."""
        found = {VARIANTS[variant]: model for variant, model in self.models.items()}
        return {**found, classifier.GOLDEN: self._golden(), bundled.FILE: self._described}

    def describe(self, evaluated: Mapping[str, Any], files: Mapping[str, bytes]) -> HistoryManifest:
        """The manifest of the bundle."""
        val = np.asarray(self._trained.split("val").inputs)
        first, confidence = np.empty(len(val), np.int64), np.empty((len(val), 1), np.float32)
        for part, logits, probabilities in bundled.batches(self._sessions["fp32"], val):
            first[part] = logits.argmax(1)
            confidence[part] = np.take_along_axis(probabilities, first[part, None], 1)
        known = (val != PADDING).sum(1)
        measured = np.column_stack([known, np.zeros(len(val), np.int64), self._catalogue.events[first]])
        reference = drift.reference_of("history", measured, confidence)
        shared = bundling.shared(self._trained, self._settings.opset, evaluated, reference, files)
        events = Events(**self._trained.manifest.events)
        return HistoryManifest(**shared, temperature=self._calibration["temperature"], events=events)

    def require_preprocessing(self, _: HistoryManifest) -> dict[str, int]:
        """Items have no preprocessing; `bundle.histories.read` has compared them with the classes."""
        return {}

    def measure_questions(self) -> dict[str, float]:
        """Histories have no frequently asked questions."""
        return {}

    def _recommended(self, logits: np.ndarray, part: slice) -> np.ndarray:
        """The item (n,) that `evaluate` ranks first by the logits (n, K) of a part of the test histories."""
        labels = np.asarray(self._test.labels[part])
        return ranking.rank(logits, labels, self._left_out[part]).best[:, 0]

    def _golden(self) -> bytes:
        """Random items and the outputs of each model, as in `bundling.golden`."""
        length = self._trained.description.shape[0]
        given = numpy_generator(0, "golden").integers(1, self._items + 1, (GOLDEN_HISTORIES, length))
        for number, row in enumerate(given):
            row[max(1, length * (number + 1) // GOLDEN_HISTORIES) :] = PADDING
        return dynamic.golden(self.models, {ITEMS: given})


def _with_item_vectors(network: HistoryNetwork) -> HistoryNetwork:
    """A copy of the network whose items have one vector each: their features must not be multiplied at each request."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        copied.embedding.weight[PADDING + 1 :] = network.embedding.vectors()
    copied.embedding.has_features = False
    return copied
