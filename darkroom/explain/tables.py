"""Explain predictions for rows of a table: how much each column supports or opposes the predicted class.

A map of rows (n, C) has one value per column, positive where it supports the class.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from darkroom.columns import schema
from darkroom.columns.schema import MISSING
from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.outputs import write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.explain import dependence, table_page, work
from darkroom.explain.budget import SECONDS
from darkroom.explain.faithfulness import RANDOM
from darkroom.explain.selection import Shown
from darkroom.figures import drawing
from darkroom.models.inference import predict, probabilities
from darkroom.reasons import shapley

ARRAYS = "data/arrays"
METHODS = ("shapley", "leave_one_out")
MAX_STEPS = 10  # of a curve


class Tables:
    """See `images.Images`; maps are (n, C) float64."""

    def __init__(self, network: nn.Module, manifest: Manifest, shown: int, wanted: int):
        self._network, self._classes = network, manifest.classes
        self._schema = schema.parse((Path(ARRAYS) / schema.FILE).read_bytes())
        train = arrays.read_split(ARRAYS, "train").inputs
        self._typical = shapley.background(train)
        self._absent = np.where(np.array(manifest.shape) > 0, MISSING, np.nan).astype(np.float32)
        self._steps, width = min(MAX_STEPS, len(self._absent)), len(self._absent)
        passes = 2 * len(self._typical) * (width + 1) + width + 2 * (self._steps + 1) * (len(METHODS) + 1)
        # On so many rows, at most `wanted`, the maps are measured.
        self.count = min(wanted, max(2, int(SECONDS / (passes * work.seconds(network, manifest.shape))) - shown))
        self.notes: list[str] = []
        self.facts = {"background_rows": len(self._typical), "faithfulness_steps": self._steps}

    def maps(self, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """The values of the columns of rows (n, C) float32 for the classes `targets` (n,), by method."""
        found = {name: np.empty(inputs.shape) for name in METHODS}
        for place in tqdm(range(len(inputs)), "explain", unit="row", leave=False, disable=None):
            row, target = np.array(inputs[place]), int(targets[place])
            found["shapley"][place], _ = shapley.contributions(self._score(target), row, self._typical)
            without = np.where(np.eye(len(row), dtype=bool), self._absent, row).astype(np.float32)
            odds = self._score(target)(np.concatenate([row[None], without]))
            found["leave_one_out"][place] = odds[0] - odds[1:]
        return found

    def measure(
        self, inputs: np.ndarray, targets: np.ndarray, maps: Mapping[str, np.ndarray], seed: int
    ) -> dict[str, np.ndarray]:
        """The probability of the classes `targets` (n,) while columns are made missing, or all but some, by method.

        Columns are taken in the order of each map, highest value first. The arrays are those of `faithfulness.measure`.
        """
        random, orders = numpy_generator(seed, "order of equal columns"), {**maps, RANDOM: np.zeros(inputs.shape)}
        counts = np.linspace(0, inputs.shape[1], self._steps + 1).round()
        found = {}
        for name, values in orders.items():
            ranks = np.lexsort((random.random(inputs.shape), -values)).argsort(1)
            first = ranks[:, None] < counts[:, None]  # (n, steps + 1, C)
            altered = np.where(np.stack([~first, first]), inputs[:, None], self._absent).astype(np.float32)
            answers = probabilities(predict(self._network, altered.reshape(-1, inputs.shape[1]), (), ()))
            answers = answers.reshape(2, *first.shape[:2], -1)
            found[name] = np.take_along_axis(answers, targets[None, :, None, None], 3)[..., 0]
        return found

    def draw(self, folder: Path, test: Split, shown: Shown) -> None:
        """Write attributions.html, importance.csv, and the partial dependence."""
        examples = [
            table_page.Example(
                kind=shown.kinds[place],
                id=test.ids.item(index),
                label=self._classes[test.labels[index]],
                predicted=self._classes[shown.probabilities[place].argmax()],
                confidence=float(shown.probabilities[place].max()),
                values=[
                    column.text(value) for column, value in zip(self._schema.columns, test.inputs[index], strict=True)
                ],
                contributions=shown.maps["shapley"][place],
            )
            for place, index in enumerate(shown.indices.tolist())
        ]
        (folder / "attributions.html").write_text(
            table_page.html(self._schema.names, examples, shown.notes), encoding="utf-8"
        )
        importance = dependence.importance(self._network, test, self._schema)
        write_csv(folder / "importance.csv", importance)
        positive = self._schema.positive or self._classes[-1]
        best = importance["column"].head(dependence.SHOWN).tolist()
        curves = dependence.partial(self._network, test.inputs, self._schema, best, self._classes.index(positive))
        write_csv(folder / "partial_dependence.csv", curves)
        title = f"Mean probability of {self._schema.target} = {positive} if all rows had this value"
        categories = {column.name for column in self._schema.columns if column.kind == "category"}
        drawing.save(dependence.draw(curves, title, categories), folder / "partial_dependence.png")

    def _score(self, target: int) -> shapley.LogOdds:
        return lambda rows: shapley.log_odds(predict(self._network, rows, (), ()), target)
