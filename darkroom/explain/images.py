"""Explain predictions for images by maps of their pixels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from darkroom.core.arrays import Manifest, Split
from darkroom.explain import attribution, budget, faithfulness, figure, work
from darkroom.explain.selection import Shown
from darkroom.figures import drawing


class Images:
    """The maps of the predictions of `network`, how detailed they are, and how they are drawn."""

    def __init__(self, network: nn.Module, manifest: Manifest, shown: int, wanted: int):
        self._network, self._classes, self._scale = network, manifest.classes, (manifest.mean, manifest.std)
        size = manifest.shape[:2]
        # On so many images, at most `wanted`, the maps are measured; `shown` others get maps too.
        self._detail, self.count = budget.plan(work.seconds(network, manifest.shape), *size, shown, wanted)
        self.notes, self.facts = self._detail.notes(*size), self._detail.metrics(*size)

    def maps(self, images: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """See `attribution.attributions`."""
        return attribution.attributions(self._network, images, targets, *self._scale, self._detail)

    def measure(
        self, images: np.ndarray, targets: np.ndarray, maps: Mapping[str, np.ndarray], seed: int
    ) -> dict[str, np.ndarray]:
        """The curves of the `maps` of the images; see `faithfulness.measure`."""
        return faithfulness.measure(self._network, images, targets, maps, *self._scale, seed, self._detail)

    def draw(self, folder: Path, test: Split, shown: Shown) -> None:
        """Write attributions.png; see `figure.draw`."""
        images, labels = test.inputs[shown.indices], test.labels[shown.indices]
        drawing.save(figure.draw(images, labels, shown, self._classes), folder / "attributions.png")
