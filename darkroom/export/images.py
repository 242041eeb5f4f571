"""Export a classifier of images, and check the exported files against the trained network."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from darkroom.bundle import classifier, drift
from darkroom.bundle.manifest import Manifest
from darkroom.export import bundling, gates, quantisation
from darkroom.export.config import ExportConfig, Int8Config
from darkroom.export.graph import onnx_files, to_onnx
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import Trained
from darkroom.models.logits import by_rows


class Images:
    """The exported files of a trained network of images, and their checks on the test set."""

    def __init__(
        self, trained: Trained, calibration: Mapping[str, Any], images: ImageConfig, settings: ExportConfig, seed: int
    ):
        self._trained, self._calibration, self._images, self._settings = trained, calibration, images, settings
        network, description, train = trained.network, trained.description, trained.split("train")
        self._test = trained.split("test").inputs
        graph = to_onnx(network, description, calibration["temperature"], settings.opset)
        sample = quantisation.sample(train.labels, settings.int8.calibration_samples, seed)
        graphs = {"fp32": graph, "int8": quantisation.quantise(graph, train.inputs[sample])}
        # The stored images are denoised already, so the checks on them run files that do not denoise.
        self.models = onnx_files(graphs, description, calibration, images)
        self._checked = onnx_files(graphs, description, calibration, images.model_copy(update={"denoise": "none"}))
        self._sessions = {
            variant: classifier.open_session(model, trained.threads) for variant, model in self._checked.items()
        }

    def require_parity(
        self, predict: Callable[[np.ndarray], np.ndarray], tolerance: float
    ) -> tuple[np.ndarray, dict[str, float]]:
        """The trained network's classes (N,) of the test images, and the numbers of `gates.require_parity`.

        `predict` gives the trained network's logits.
        """
        expected = predict(self._test)
        return by_rows(lambda block: block.argmax(1), expected), gates.require_parity(
            self._sessions["fp32"], self._test, expected, tolerance
        )

    def measure_speedup(self) -> float:
        """See `gates.measure_speedup`."""
        return gates.measure_speedup(self.models, self._test[:1])

    def classify_int8(self, fp32: np.ndarray, limits: Int8Config) -> tuple[np.ndarray, np.ndarray]:
        """See `gates.classify_int8`."""
        return gates.classify_int8(self._sessions["int8"], self._test, fp32, limits)

    def files(self) -> dict[str, bytes]:
        """The contents of the bundle's files by name; int8 is left out if it was taken out of `models`."""
        found = {classifier.VARIANTS[variant]: model for variant, model in self.models.items()}
        checked = {variant: self._checked[variant] for variant in self.models}
        found[classifier.GOLDEN] = bundling.golden(checked, self._trained.description.shape, self._images.denoise)
        return found

    def describe(self, evaluated: Mapping[str, Any], files: Mapping[str, bytes]) -> Manifest:
        """The manifest of the bundle; see `bundling.describe`."""
        val = self._trained.split("val").inputs
        answers = [(found.max(1), found.argmax(1)) for _, (_, found) in classifier.batches(self._sessions["fp32"], val)]
        confidence, predicted = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        classes = len(self._trained.description.classes)
        reference = drift.described(drift.FEATURES, drift.brightness(val), confidence, predicted, classes)
        given = self._settings.opset, self._calibration, evaluated, reference, files
        return bundling.describe(self._trained, self._images, *given)

    def require_preprocessing(self, manifest: Manifest) -> dict[str, int]:
        """See `gates.require_preprocessing`."""
        return gates.require_preprocessing(manifest, self.models["fp32"], self._test)

    def measure_questions(self) -> dict[str, float]:
        """Images have no frequently asked questions."""
        return {}
