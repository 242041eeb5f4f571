"""The report on the data: size of the splits, removed images, near duplicates, and a sheet of samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, UNLABELLED, Manifest, Split
from darkroom.core.outputs import new_folder, write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.figures import drawing, fonts
from darkroom.figures.images import to_rgb
from darkroom.preprocess.cleaning import KEPT, LABELLED, RELABELLED, REMOVED, Finding
from darkroom.preprocess.samples import NO_LABEL
from darkroom.preprocess.shift import Shift

MAX_CLASSES, MAX_IMAGES = 30, 12  # rows of the sample sheet, and images per row

# All in pixels. The total limits the size of the file: with larger images or more classes, rows are shorter.
_TOTAL_PIXELS = 200_000
_MAX_SIDE = 48  # larger images are shrunk to it
_ENLARGED_SIDE = 56  # smaller images are enlarged by an integer factor to about this
_GAP = 3
_LEFT, _BOTTOM, _RIGHT, _TOP = 160, 8, 8, 40
_MIN_WIDTH = 640  # so that the title fits

_ROW = "(unlabelled)"  # a class may have the name without brackets


def summary(
    manifest: Manifest, train_labels: np.ndarray, findings: Sequence[Finding], shift: Shift | None = None
) -> dict[str, float]:
    """The numbers of metrics/preprocess.json.

    Class fractions, mean_<channel> and std_<channel> are of the training split; the last two are on the scale 0..1.
    `unlabelled` is there if there are such examples, `relabelled` if labels were corrected, `labelled` if unlabelled
    examples got one. `unlabelled_auc` and the keys that start with it are the result of `shift.measure`.
    """
    actions = Counter(finding.action for finding in findings)
    fractions = np.bincount(train_labels, minlength=len(manifest.classes)) / len(train_labels)
    height, width, channels = manifest.shape
    return {
        **manifest.counts,
        "removed": actions[REMOVED],
        "suspect_kept": actions[KEPT],
        **{action: actions[action] for action in (RELABELLED, LABELLED) if actions[action]},
        **_shift_numbers(shift),
        "classes": len(manifest.classes),
        "smallest_class_fraction": round(float(fractions.min()), 6),
        "largest_class_fraction": round(float(fractions.max()), 6),
        "height": height,
        "width": width,
        "channels": channels,
        **{f"mean_{channel}": round(value, 6) for channel, value in enumerate(manifest.mean)},
        **{f"std_{channel}": round(value, 6) for channel, value in enumerate(manifest.std)},
    }


def _shift_numbers(shift: Shift | None) -> dict[str, float]:
    if shift is None:
        return {}
    values = {"": shift.auc, "_low": shift.low, "_high": shift.high, "_p_value": shift.p_value}
    return {f"unlabelled_auc{name}": round(value, 6) for name, value in values.items()}


def summary_line(manifest: Manifest, findings: Sequence[Finding]) -> str:
    """Counts in one line: `Toy: 4 train, 2 val, 3 test images; 3 removed (2 leak, 1 unusable); 1 suspect kept`.

    With corrected labels, `; 6 relabelled` is appended; with labels of unlabelled examples, `; 6 labelled`.
    """
    sizes = ", ".join(f"{count} {name}" for name, count in manifest.counts.items())
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
    shift: Shift | None = None,
) -> None:
    """Write the report atomically to `folder`.

    counts.csv: images per class and split; unlabelled ones, if there are any, have a row and a column.
    findings.csv: one row per problem: image, rule, detail, action.
    near_duplicates.csv: the table of `duplicates.pair_table`.
    dominant_groups.csv: the table of `groups.dominant`, unless it is empty.
    unlabelled.csv: the result of `shift.measure` in one row, unless it is None.
    samples.png: random training images of each class, and unlabelled images, drawn with `seed`.
    """
    table = pd.DataFrame([astuple(finding) for finding in findings], columns=[field.name for field in fields(Finding)])
    unlabelled = splits.get(UNLABELLED)
    with new_folder(folder) as temporary:
        write_csv(temporary / "counts.csv", _with_unlabelled(counts(splits, manifest.classes), unlabelled))
        write_csv(temporary / "findings.csv", table)
        write_csv(temporary / "near_duplicates.csv", near_duplicates)
        if len(dominant_groups):
            write_csv(temporary / "dominant_groups.csv", dominant_groups)
        if shift:
            write_csv(temporary / "unlabelled.csv", pd.DataFrame([asdict(shift)]))
        sheet = sample_sheet(splits["train"], manifest, seed, unlabelled)
        sheet.save(temporary / "samples.png", optimize=True)


def counts(splits: Mapping[str, Split], classes: Sequence[str]) -> pd.DataFrame:
    """Images per class (rows) and split (columns after `class`)."""
    columns = {name: np.bincount(splits[name].labels, minlength=len(classes)) for name in SPLITS}
    return pd.DataFrame({"class": list(classes), **columns})


def _with_unlabelled(table: pd.DataFrame, unlabelled: Split | None) -> pd.DataFrame:
    if unlabelled is None:
        return table
    row = dict.fromkeys(SPLITS, 0) | {"class": _ROW, UNLABELLED: len(unlabelled)}
    return pd.concat([table.assign(**{UNLABELLED: 0}), pd.DataFrame([row])], ignore_index=True)


def sample_sheet(train: Split, manifest: Manifest, seed: int, unlabelled: Split | None = None) -> Image.Image:
    """One row per class: its name and random training images, drawn with `seed`; then a row of unlabelled images.

    The sheet is grey, or has a palette of 256 colours. With more than MAX_CLASSES classes, only the first ones are
    shown, and the title says so.
    """
    shown = manifest.classes[:MAX_CLASSES]
    height, width, _ = manifest.shape
    shrink = min(1, _MAX_SIDE / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    names = [*shown, *([_ROW] if unlabelled is not None else [])]
    columns = int(np.clip(_TOTAL_PIXELS // (len(names) * height * width), 4, MAX_IMAGES))
    enlarge = max(1, round(_ENLARGED_SIDE / max(height, width)))
    cells = np.full((len(names), height * enlarge + _GAP, columns, width * enlarge + _GAP, 3), 255, dtype=np.uint8)
    for row, name in enumerate(names):
        split, label = (train, row) if row < len(shown) else (unlabelled, NO_LABEL)
        indices = np.flatnonzero(split.labels == label)
        indices = numpy_generator(seed, "samples", name).permutation(indices)[:columns]
        images = np.empty((len(indices), *manifest.shape), np.uint8)
        arrays.read_into(images, split.inputs, indices)
        for column, image in enumerate(images):
            small = np.asarray(Image.fromarray(to_rgb(image)).resize((width, height), Image.Resampling.BOX))
            cells[row, :-_GAP, column, :-_GAP] = small.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    pixels = cells.reshape(len(names) * cells.shape[1], -1, 3)
    subset = "" if len(shown) == len(manifest.classes) else f", first {len(shown)} of {len(manifest.classes)} classes"
    return _label_rows(pixels, names, f"{manifest.title}: training images{subset}")


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
