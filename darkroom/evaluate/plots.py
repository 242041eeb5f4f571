"""Pictures of what a model does; the same input gives the same bytes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from darkroom.figures.drawing import gallery, shorten


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    classes: Sequence[str],
    limit: int,
) -> Figure:
    """A gallery of the `limit` most confident mistakes, the most confident first; where there is none, it says so.

    `images` (N, H, W, C) uint8 with one channel or three, `labels` and `predicted` (N,) int64, `confidence` (N,) in 0..1.
    """
    wrong = np.flatnonzero(labels != predicted)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    found = f"Mistakes on {len(labels):,} test pictures: the {len(shown)} most confident of {len(wrong):,}"
    title = found if len(shown) else f"No mistake on {len(labels):,} test pictures"
    captions = [
        (classes[labels[place]], f"→ {shorten(classes[predicted[place]])}", f"{confidence[place]:.1%}")
        for place in shown
    ]
    return gallery(
        images[shown], captions, title, "what it is, → what the model took it for, and how sure the model was"
    )


def suspects(images: np.ndarray, ids: np.ndarray, found: pd.DataFrame, limit: int) -> Figure:
    """A gallery of the first `limit` labels of a table of `labels.table`, which are probably wrong; where there is none, it says so.

    `images` (N, H, W, C) uint8 and `ids` (N,) unicode are those of all pictures that were looked at.
    """
    places = {name: place for place, name in enumerate(ids.tolist())}
    rows = found.head(limit)
    some = f"Labels of {len(ids):,} pictures that are probably wrong: {len(rows)} of {len(found):,}"
    title = some if len(found) else f"No suspect label among {len(ids):,} pictures"
    captions = [(row.label, f"→ {shorten(row.suggested)}?", f"by {row.margin:+.2f}") for row in rows.itertuples()]
    shown = images[[places[name] for name in rows["id"]]]
    return gallery(
        shown, captions, title, "its label, → what the model suggests, and by how much that is more probable"
    )
