"""The report on the data: size of the splits, removed examples, near duplicates, and samples."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core.arrays import SPLITS, UNLABELLED, Manifest, Split
from darkroom.core.outputs import new_folder, write_csv
from darkroom.core.spelling import NOUNS, plural
from darkroom.preprocess.cleaning import KEPT, LABELLED, RELABELLED, REMOVED, Finding
from darkroom.preprocess.shift import Shift

ROW = "(unlabelled)"  # of unlabelled examples; a class may have the name without brackets


def summary(
    manifest: Manifest,
    train_labels: np.ndarray,
    findings: Sequence[Finding],
    facts: Mapping[str, float],
    shift: Shift | None = None,
) -> dict[str, float]:
    """The numbers of metrics/preprocess.json, with `facts` that are those of the kind of example.

    Class fractions are of the training split. `unlabelled` is there if the dataset has such examples, `relabelled` if
    labels were corrected, `labelled` if unlabelled examples got one. `unlabelled_auc` and the keys that start with it
    are the result of `shift.measure`.
    """
    actions = Counter(finding.action for finding in findings)
    sizes = dict(manifest.counts)
    if any(finding.split == UNLABELLED for finding in findings):
        sizes.setdefault(UNLABELLED, 0)  # all were removed
    fractions = np.bincount(train_labels, minlength=len(manifest.classes)) / max(1, len(train_labels))
    return {
        **sizes,
        "removed": actions[REMOVED],
        "suspect_kept": actions[KEPT],
        **{action: actions[action] for action in (RELABELLED, LABELLED) if actions[action]},
        **_shift_numbers(shift),
        "classes": len(manifest.classes),
        "smallest_class_fraction": round(float(fractions.min()), 6),
        "largest_class_fraction": round(float(fractions.max()), 6),
        **facts,
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
        [
            f"{manifest.title}: {sizes} {plural(NOUNS[manifest.kind])}",
            removed,
            *(f"{count} {what}" for count, what in others if count),
        ]
    )


def write(
    folder: str | Path,
    splits: Mapping[str, Split],
    counted: pd.DataFrame,
    findings: Sequence[Finding],
    near_duplicates: pd.DataFrame,
    dominant_groups: pd.DataFrame,
    write_samples: Callable[[Path], None],
    shift: Shift | None = None,
) -> None:
    """Write the report atomically to `folder`.

    counts.csv: `counted`, the examples per class and split; unlabelled ones, if there are any, have a row and a column.
    findings.csv: one row per problem: id, rule, detail, action.
    near_duplicates.csv: the table of `duplicates.pair_table`.
    dominant_groups.csv: the table of `groups.dominant`, unless it is empty.
    unlabelled.csv: the result of `shift.measure` in one row, unless it is None.
    What `write_samples` writes: random training examples of each class, unlabelled ones, and more about the contents.
    """
    table = pd.DataFrame([astuple(finding) for finding in findings], columns=[field.name for field in fields(Finding)])
    unlabelled = splits.get(UNLABELLED)
    with new_folder(folder) as temporary:
        write_csv(temporary / "counts.csv", _with_unlabelled(counted, unlabelled))
        write_csv(temporary / "findings.csv", table)
        write_csv(temporary / "near_duplicates.csv", near_duplicates)
        if len(dominant_groups):
            write_csv(temporary / "dominant_groups.csv", dominant_groups)
        if shift:
            write_csv(temporary / "unlabelled.csv", pd.DataFrame([asdict(shift)]))
        write_samples(temporary)


def counts(splits: Mapping[str, Split], classes: Sequence[str]) -> pd.DataFrame:
    """Examples per class (rows) and split (columns after `class`)."""
    columns = {name: np.bincount(splits[name].labels, minlength=len(classes)) for name in SPLITS}
    return pd.DataFrame({"class": list(classes), **columns})


def _with_unlabelled(table: pd.DataFrame, unlabelled: Split | None) -> pd.DataFrame:
    if unlabelled is None:
        return table
    row = dict.fromkeys(SPLITS, 0) | {"class": ROW, UNLABELLED: len(unlabelled)}
    return pd.concat([table.assign(**{UNLABELLED: 0}), pd.DataFrame([row])], ignore_index=True)
