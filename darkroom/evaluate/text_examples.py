"""What the evaluation shows of texts: tables of mistakes and suspects, and stand-ins for texts about other things."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.core.outputs import write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.evaluate import class_plots
from darkroom.evaluate.contact_sheet import mistakes
from darkroom.evaluate.out_of_distribution import LIMIT
from darkroom.figures import drawing
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Tokenizer

ARRAYS = "data/arrays"
_TEXTS = dict.fromkeys(("class", "label", "predicted"), str)  # a class may be called "1" or "nan"
_EMPTY = dict.fromkeys(("recall", "f1"), "")  # of a class without test examples


def columns(split: str) -> Mapping[str, np.ndarray]:
    """The columns (N,) of texts of a split, by which it can be sliced."""
    return arrays.read_columns("data/arrays", split)


def positive(classes: Sequence[str]) -> int | None:
    """No class, of any number, is a risk."""
    return None


def show(
    folder: Path,
    test: Split,
    predicted: np.ndarray,
    predictions: pd.DataFrame,
    suspects: pd.DataFrame,
    classes: Sequence[str],
    limit: int,
) -> None:
    """Write mistakes.csv and suspect_texts.csv: the tables of the most confident mistakes and suspects, with texts.

    Also confused_pairs.png and most_difficult.png, from the tables that are in `folder`. Arguments as in
    `image_examples.show`.
    """
    for name, table, draw in (
        ("confused_pairs.png", "confused_pairs.csv", class_plots.confused_pairs),
        ("most_difficult.png", "per_class.csv", class_plots.most_difficult),
    ):
        written = pd.read_csv(folder / table, dtype=_TEXTS, keep_default_na=False, na_values=_EMPTY)
        drawing.save(draw(written), folder / name)
    texts = pd.Series(arrays.read_texts(ARRAYS, "test"), test.ids.tolist(), name="text")
    wrong = predictions.iloc[mistakes(predictions)]
    write_csv(folder / "mistakes.csv", wrong.assign(text=texts[wrong["id"].tolist()].tolist()))
    write_csv(folder / "suspect_texts.csv", suspects.assign(text=texts[suspects["id"].tolist()].tolist()))


def stand_ins(inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs (n, L) int32 of each kind that ask for none of the classes, from test inputs (N, L) int32; n <= LIMIT.

    noise      random tokens, as many as a test text has
    words      random tokens, as frequent as in the test texts
    documents  sentences of scikit-learn's descriptions of data sets, which are in English

    Other data sets are not read: the result would depend on what else was downloaded.
    """
    tokenizer = Tokenizer((Path(ARRAYS) / text.FILE).read_bytes(), inputs.shape[1])
    chosen = numpy_generator(0, "out of distribution").permutation(len(inputs))[:LIMIT]
    held = inputs[np.sort(chosen)] != PADDING
    tokens = inputs[inputs != PADDING]
    noise, words = np.zeros((2, *held.shape), np.int32)
    for kind, made in (("noise", noise), ("words", words)):
        random = numpy_generator(0, "out of distribution", kind)
        count = int(held.sum())
        made[held] = (
            random.integers(1, tokenizer.vocabulary, count) if kind == "noise" else random.choice(tokens, count)
        )
    return {"noise": noise, "words": words, "documents": tokenizer.ids(_sentences()[:LIMIT])[0]}


def _sentences() -> list[str]:
    """Sentences of prose, of 20 to 200 characters."""
    files = sorted(resources.files("sklearn.datasets.descr").iterdir(), key=lambda file: file.name)
    prose = " ".join(" ".join(file.read_text(encoding="utf-8").split()) for file in files if file.name.endswith(".rst"))
    found = re.findall(r"[A-Z][^.:|=*_`]{20,200}[.?]", prose)
    return [text.clean(sentence) for sentence in dict.fromkeys(found)]
