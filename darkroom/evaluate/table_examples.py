"""What the evaluation shows of rows of a table: mistakes with their values, and stand-ins for other rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.columns import schema
from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.core.outputs import write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.evaluate.contact_sheet import mistakes
from darkroom.evaluate.out_of_distribution import LIMIT

ARRAYS = "data/arrays"


class Columns(Mapping[str, np.ndarray]):
    """The columns (N,) of texts of a split, written when they are asked for: the group, if there is one, and inputs."""

    def __init__(self, split: str):
        self._own = arrays.read_columns(ARRAYS, split)
        self._schema, self._rows = read_schema(), arrays.read_split(ARRAYS, split).inputs

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._own:
            return self._own[name]
        if name not in self._schema.names:
            raise KeyError(name)
        return np.array(schema.texts(self._schema, self._rows, name), dtype=str)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *self._schema.names]))

    def __len__(self) -> int:
        return len(list(iter(self)))


columns = Columns


def read_schema() -> schema.Schema:
    """The columns of the data."""
    return schema.parse((Path(ARRAYS) / schema.FILE).read_bytes())


def positive(classes: Sequence[str]) -> int | None:
    """The class whose probability is the risk; None if there is none."""
    name = read_schema().positive
    return None if name is None else list(classes).index(name)


def show(
    folder: Path,
    test: Split,
    predicted: np.ndarray,
    predictions: pd.DataFrame,
    suspects: pd.DataFrame,
    classes: Sequence[str],
    limit: int,
) -> None:
    """Write mistakes.csv and suspect_rows.csv: the tables of the most confident mistakes and suspects, with values.

    Arguments as in `image_examples.show`.
    """
    place = {name: number for number, name in enumerate(test.ids.tolist())}
    for name, table in (("mistakes.csv", predictions.iloc[mistakes(predictions)]), ("suspect_rows.csv", suspects)):
        chosen = np.array([place[one] for one in table["id"].tolist()], np.int64)
        described, rows = read_schema(), test.inputs[chosen]
        values = {column: schema.texts(described, rows, column) for column in described.names}
        shown = pd.DataFrame({f"{key} (input)" if key in table else key: of for key, of in values.items()})
        write_csv(folder / name, pd.concat([table.reset_index(drop=True), shown], axis=1))


def stand_ins(inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs (n, C) float32 of each kind that come from no row, from test inputs (N, C) float32; n <= LIMIT.

    shuffled  the value of each column is that of another row
    uniform   numbers between the lowest and highest of the column, and any category
    """
    count = min(LIMIT, len(inputs))
    shuffled, uniform = np.empty((2, count, inputs.shape[1]), np.float32)
    for index in range(inputs.shape[1]):
        random = numpy_generator(0, "out of distribution", index)
        column = np.array(inputs[:, index])
        shuffled[:, index] = random.permutation(column)[:count]
        values = np.unique(column[~np.isnan(column)])
        if read_schema().columns[index].kind == "category":
            uniform[:, index] = random.choice(values, count)
        elif len(values):
            uniform[:, index] = random.uniform(values[0], values[-1], count)
        else:
            uniform[:, index] = np.nan
    return {"shuffled": shuffled, "uniform": uniform}
