"""The folder metrics/evaluate of recommendations: tables, figures, and a page of histories."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core.arrays import Items, Split
from darkroom.core.outputs import new_folder, write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.evaluate import history_page, recommendation_plots
from darkroom.evaluate.history_page import Example, Recommended
from darkroom.evaluate.item_answers import Answers
from darkroom.figures import drawing
from darkroom.recommend.ranking import SHOWN, Ranking


def write(
    folder: str,
    tables: Mapping[str, pd.DataFrame],
    rankings: Mapping[str, Ranking],
    best: str,
    gallery: Sequence[Example],
) -> None:
    """Write the `tables` by file name, figures of the rankings by recommender, and a page of examples; atomically.

    `best` is the best baseline.
    """
    figures = {
        "ranking.png": recommendation_plots.by_k(rankings),
        "slices.png": recommendation_plots.by_slice(tables["slices.csv"], best),
        "popularity.png": recommendation_plots.by_popularity(tables["popularity.csv"]),
    }
    with new_folder(folder) as written:
        for name, table in tables.items():
            write_csv(written / name, table)
        for name, figure in figures.items():
            drawing.save(figure, written / name)
        Path(written / "recommendations.html").write_text(history_page.html(gallery), encoding="utf-8")


def gallery(test: Split, answers: Answers, items: Items, classes: Sequence[str], limit: int) -> list[Example]:
    """At most `limit` random examples with what was recommended, in their order."""
    names = [title or name for title, name in zip(items.titles.tolist(), classes, strict=True)]
    chosen = np.sort(numpy_generator(0, "gallery").permutation(len(test))[:limit])
    examples = []
    for index in chosen.tolist():
        history = np.asarray(test.inputs[index])
        label, best = int(test.labels[index]), answers.ranking.best[index, :SHOWN]
        examples.append(
            Example(
                id=test.ids.item(index),
                history=[names[token - 1] for token in history[history != 0].tolist()],
                following=names[label],
                rank=int(answers.ranking.ranks[index]),
                recommended=[
                    Recommended(names[item], probability, item == label)
                    for item, probability in zip(best.tolist(), answers.probabilities[index].tolist(), strict=False)
                    if item >= 0
                ],
            )
        )
    return examples
