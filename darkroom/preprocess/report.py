"""The report on the data: what the splits hold, what was dropped and why, and what the pictures look like."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, Manifest, Split
from darkroom.core.outputs import new_folder, write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.preprocess.cleaning import RULES, Finding

MOST_CLASSES, MOST_PICTURES = 30, 12  # on the sample sheet: rows, and pictures a row

_PIXELS = 200_000  # of all pictures on the sheet, so that the file stays small: larger pictures, or more classes, mean shorter rows
_LARGEST, _SMALLEST = (
    48,
    56,
)  # pixels: a longer side is shrunk to the first, a shorter one enlarged by a whole number up to the second
_GAP = 3  # pixels between the pictures
_MARGINS = (160, 8, 8, 40)  # pixels left, below, right, above
_LEAST_WIDTH = 640  # pixels, so that the title fits


def summary(manifest: Manifest, train_labels: np.ndarray, findings: Sequence[Finding]) -> dict[str, float]:
    """The numbers of metrics/preprocess.json: counts, what was found, the pictures' shape, and statistics of the training split.

    mean_<channel> and std_<channel> are on the scale 0..1; class shares are of the training split.
    """
    rules = Counter(finding.rule for finding in findings if finding.done == "left out")
    shares = np.bincount(train_labels, minlength=len(manifest.classes)) / len(train_labels)
    height, width, channels = manifest.shape
    return {
        **{name: manifest.counts[name] for name in SPLITS},
        "left_out": rules.total(),
        **{f"left_out_{rule}": rules[rule] for rule in RULES},
        "kept_suspect": len(findings) - rules.total(),
        "classes": len(manifest.classes),
        "smallest_class_share": round(float(shares.min()), 6),
        "largest_class_share": round(float(shares.max()), 6),
        "height": height,
        "width": width,
        "channels": channels,
        **{f"mean_{channel}": round(value, 6) for channel, value in enumerate(manifest.mean)},
        **{f"std_{channel}": round(value, 6) for channel, value in enumerate(manifest.std)},
    }


def account(findings: Sequence[Finding]) -> str:
    """What was found, in a few words: "3 left out (2 leak, 1 unusable), 1 suspect kept"."""
    rules = Counter(finding.rule for finding in findings if finding.done == "left out")
    names = ", ".join(f"{count} {rule}" for rule, count in rules.most_common())
    kept = len(findings) - rules.total()
    return f"{rules.total()} left out{f' ({names})' if names else ''}{f', {kept} suspect kept' if kept else ''}"


def write(
    folder: str | Path,
    splits: Mapping[str, Split],
    manifest: Manifest,
    findings: Sequence[Finding],
    near: pd.DataFrame,
    seed: int,
) -> None:
    """Writes the report's tables and its picture to `folder`, whole or not at all.

    counts.csv: class by split. findings.csv: each picture with which something is wrong, the rule, and what was done.
    near_duplicates.csv: `near`, the pairs of pictures that are nearly the same, as `duplicates.described` tells of them.
    samples.png: some training pictures of each class, drawn with `seed`.
    """
    with new_folder(folder) as temporary:
        write_csv(temporary / "counts.csv", counts(splits, manifest.classes))
        write_csv(temporary / "findings.csv", _table(findings))
        write_csv(temporary / "near_duplicates.csv", near)
        sample_sheet(splits["train"], manifest, seed).save(temporary / "samples.png", optimize=True)


def counts(splits: Mapping[str, Split], classes: Sequence[str]) -> pd.DataFrame:
    """Samples by class, a row each, and split, a column each after the column `class`."""
    return pd.DataFrame(
        {"class": list(classes), **{name: np.bincount(splits[name].labels, minlength=len(classes)) for name in SPLITS}}
    )


def sample_sheet(train: Split, manifest: Manifest, seed: int) -> Image.Image:
    """A row a class: its name and some of its training pictures, drawn with `seed`; in grey, or with a palette of 256 colours.

    With more than MOST_CLASSES classes the first ones are shown, and the title says so.
    """
    shown = manifest.classes[:MOST_CLASSES]
    height, width, _ = manifest.shape
    shrink = min(1, _LARGEST / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    columns = int(np.clip(_PIXELS // (len(shown) * height * width), 4, MOST_PICTURES))
    enlarge = max(1, round(_SMALLEST / max(height, width)))
    cells = np.full((len(shown), height * enlarge + _GAP, columns, width * enlarge + _GAP, 3), 255, dtype=np.uint8)
    for label, name in enumerate(shown):
        places = np.flatnonzero(train.labels == label)
        places = numpy_generator(seed, "samples", name).permutation(places)[:columns]
        images = np.empty((len(places), *manifest.shape), np.uint8)
        arrays.read_into(images, train.inputs, places)
        for column, image in enumerate(images):
            colours = np.take(image, (0, 1, 2), axis=-1, mode="clip")  # grey: the one channel thrice
            small = np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.BOX))
            cells[label, :-_GAP, column, :-_GAP] = small.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    some = "" if len(shown) == len(manifest.classes) else f", the first {len(shown)} of {len(manifest.classes)} classes"
    return _label_rows(
        cells.reshape(len(shown) * cells.shape[1], -1, 3), shown, f"{manifest.title}: training pictures{some}"
    )


def _label_rows(pixels: np.ndarray, names: Sequence[str], title: str) -> Image.Image:
    """The pixels (H, W, 3) uint8 of a sheet, drawn one to one under a title and to the right of the rows' names."""
    height, width, _ = pixels.shape
    left, bottom, right, top = _MARGINS
    whole = (max(left + width + right, _LEAST_WIDTH), bottom + height + top)
    figure = Figure(figsize=(whole[0] / 100, whole[1] / 100), dpi=100)
    axes = figure.add_axes((left / whole[0], bottom / whole[1], width / whole[0], height / whole[1]), frame_on=False)
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks(
        (np.arange(len(names)) + 0.5) * height / len(names),
        [_shorten(name, 20) for name in names],
        fontsize=10,
        parse_math=False,
    )
    axes.tick_params(length=0)
    figure.text(
        10 / whole[0],
        1 - 12 / whole[1],
        _shorten(title, whole[0] // 10),
        fontsize=12,
        weight="bold",
        va="top",
        parse_math=False,
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    if (pixels == pixels[..., :1]).all():
        return drawn.convert("L")
    return drawn.quantize(256)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _table(findings: Sequence[Finding]) -> pd.DataFrame:
    return pd.DataFrame([astuple(finding) for finding in findings], columns=[field.name for field in fields(Finding)])
