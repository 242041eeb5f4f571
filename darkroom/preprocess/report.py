"""The report on the data: size of the splits, removed images, near duplicates, and a sheet of samples."""

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
from darkroom.figures import drawing, fonts
from darkroom.figures.images import to_rgb
from darkroom.preprocess.cleaning import KEPT, LABELLED, RELABELLED, REMOVED, Finding

MAX_CLASSES, MAX_IMAGES = 30, 12  # rows of the sample sheet, and images per row

# All in pixels. The total limits the size of the file: with larger images or more classes, rows are shorter.
_TOTAL_PIXELS = 200_000
_MAX_SIDE = 48  # larger images are shrunk to it
_ENLARGED_SIDE = 56  # smaller images are enlarged by an integer factor to about this
_GAP = 3
_LEFT, _BOTTOM, _RIGHT, _TOP = 160, 8, 8, 40
_MIN_WIDTH = 640  # so that the title fits


def summary(manifest: Manifest, train_labels: np.ndarray, findings: Sequence[Finding]) -> dict[str, float]:
    """The numbers of metrics/preprocess.json.

    Class fractions, mean_<channel> and std_<channel> are of the training split; the last two are on the scale 0..1.
    `relabelled` is there if labels were corrected, `labelled` if unlabelled examples got one.
    """
    actions = Counter(finding.action for finding in findings)
    fractions = np.bincount(train_labels, minlength=len(manifest.classes)) / len(train_labels)
    height, width, channels = manifest.shape
    return {
        **{name: manifest.counts[name] for name in SPLITS},
        "removed": actions[REMOVED],
        "suspect_kept": actions[KEPT],
        **{action: actions[action] for action in (RELABELLED, LABELLED) if actions[action]},
        "classes": len(manifest.classes),
        "smallest_class_fraction": round(float(fractions.min()), 6),
        "largest_class_fraction": round(float(fractions.max()), 6),
        "height": height,
        "width": width,
        "channels": channels,
        **{f"mean_{channel}": round(value, 6) for channel, value in enumerate(manifest.mean)},
        **{f"std_{channel}": round(value, 6) for channel, value in enumerate(manifest.std)},
    }


def summary_line(manifest: Manifest, findings: Sequence[Finding]) -> str:
    """Counts in one line: `Toy: 4 train, 2 val, 3 test images; 3 removed (2 leak, 1 unusable); 1 suspect kept`.

    With corrected labels, `; 6 relabelled` is appended; with labels of unlabelled examples, `; 6 labelled`.
    """
    sizes = ", ".join(f"{manifest.counts[name]} {name}" for name in SPLITS)
    rules = Counter(finding.rule for finding in findings if finding.action == REMOVED)
    by_rule = ", ".join(f"{count} {rule}" for rule, count in rules.most_common())
    removed = f"{rules.total()} removed" + (f" ({by_rule})" if by_rule else "")
    actions = Counter(finding.action for finding in findings)
    others = ((actions[KEPT], "suspect kept"), (actions[RELABELLED], "relabelled"), (actions[LABELLED], "labelled"))
    return "; ".join(
        [f"{manifest.title}: {sizes} images", removed, *(f"{count} {what}" for count, what in others if count)]
    )


def write(
    folder: str | Path,
    splits: Mapping[str, Split],
    manifest: Manifest,
    findings: Sequence[Finding],
    near_duplicates: pd.DataFrame,
    dominant_groups: pd.DataFrame,
    seed: int,
) -> None:
    """Write the report atomically to `folder`.

    counts.csv: images per class and split.
    findings.csv: one row per problem: image, rule, detail, action.
    near_duplicates.csv: the table of `duplicates.pair_table`.
    dominant_groups.csv: the table of `groups.dominant`, unless it is empty.
    samples.png: random training images of each class, drawn with `seed`.
    """
    table = pd.DataFrame([astuple(finding) for finding in findings], columns=[field.name for field in fields(Finding)])
    with new_folder(folder) as temporary:
        write_csv(temporary / "counts.csv", counts(splits, manifest.classes))
        write_csv(temporary / "findings.csv", table)
        write_csv(temporary / "near_duplicates.csv", near_duplicates)
        if len(dominant_groups):
            write_csv(temporary / "dominant_groups.csv", dominant_groups)
        sample_sheet(splits["train"], manifest, seed).save(temporary / "samples.png", optimize=True)


def counts(splits: Mapping[str, Split], classes: Sequence[str]) -> pd.DataFrame:
    """Images per class (rows) and split (columns after `class`)."""
    columns = {name: np.bincount(splits[name].labels, minlength=len(classes)) for name in SPLITS}
    return pd.DataFrame({"class": list(classes), **columns})


def sample_sheet(train: Split, manifest: Manifest, seed: int) -> Image.Image:
    """One row per class: its name and random training images, drawn with `seed`.

    The sheet is grey, or has a palette of 256 colours. With more than MAX_CLASSES classes, only the first ones are
    shown, and the title says so.
    """
    shown = manifest.classes[:MAX_CLASSES]
    height, width, _ = manifest.shape
    shrink = min(1, _MAX_SIDE / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    columns = int(np.clip(_TOTAL_PIXELS // (len(shown) * height * width), 4, MAX_IMAGES))
    enlarge = max(1, round(_ENLARGED_SIDE / max(height, width)))
    cells = np.full((len(shown), height * enlarge + _GAP, columns, width * enlarge + _GAP, 3), 255, dtype=np.uint8)
    for label, name in enumerate(shown):
        indices = np.flatnonzero(train.labels == label)
        indices = numpy_generator(seed, "samples", name).permutation(indices)[:columns]
        images = np.empty((len(indices), *manifest.shape), np.uint8)
        arrays.read_into(images, train.inputs, indices)
        for column, image in enumerate(images):
            small = np.asarray(Image.fromarray(to_rgb(image)).resize((width, height), Image.Resampling.BOX))
            cells[label, :-_GAP, column, :-_GAP] = small.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    pixels = cells.reshape(len(shown) * cells.shape[1], -1, 3)
    subset = "" if len(shown) == len(manifest.classes) else f", first {len(shown)} of {len(manifest.classes)} classes"
    return _label_rows(pixels, shown, f"{manifest.title}: training images{subset}")


def _label_rows(pixels: np.ndarray, names: Sequence[str], title: str) -> Image.Image:
    """Draw the pixels (H, W, 3) uint8 of a sheet unscaled, under a title and to the right of the row names."""
    height, width, _ = pixels.shape
    full_width, full_height = max(_LEFT + width + _RIGHT, _MIN_WIDTH), _BOTTOM + height + _TOP
    figure = Figure(figsize=(full_width / 100, full_height / 100), dpi=100)
    box = (_LEFT / full_width, _BOTTOM / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(box, frame_on=False)
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_xticks([])
    ticks, labels = (np.arange(len(names)) + 0.5) * height / len(names), [drawing.shorten(name, 20) for name in names]
    axes.set_yticks(ticks, labels, fontsize=10, parse_math=False)
    axes.tick_params(length=0)
    text = drawing.shorten(title, full_width // 10)
    left, top = 10 / full_width, 1 - 12 / full_height
    figure.text(left, top, text, fontsize=12, weight="bold", va="top", parse_math=False)
    canvas = FigureCanvasAgg(figure)
    with fonts.complete(figure):
        canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return drawn.convert("L") if (pixels == pixels[..., :1]).all() else drawn.quantize(256)
