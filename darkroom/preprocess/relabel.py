"""Labels that were given by hand: answers on the label page, and corrections in a table.

With a column `by`, the file holds the answers of people (darkroom/datasets/answers.py). The label that more than half
of the people give counts. An example that they find unclear or disagree on is left out, unless it is a test example:
leaving out the difficult ones would make the test easier. Without a column `by`, each row is a correction.
"""

import csv
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.datasets import answers
from darkroom.datasets.answers import FILE, UNCLEAR
from darkroom.preprocess.cleaning import KEPT, LABELLED, RELABELLED, REMOVED, Finding
from darkroom.preprocess.samples import NO_LABEL, Samples

AUTO, NONE = "auto", "none"
BY_HAND = "by hand: "  # in the detail of a finding that answers gave


@dataclass(frozen=True)
class Verdict:
    """What the file says of one example."""

    label: int  # what is given to it; NO_LABEL: it is left out
    rule: str  # `relabelled`, `unclear` or `disputed`
    detail: str


def read(ids: Iterable[str], folder: Path, name: str, classes: Sequence[str]) -> dict[int, Verdict]:
    """What the CSV file `name` in `folder` says of each of the examples with these `ids`, by index.

    "auto": labels.csv if there is one; "none": nothing. A file of corrections has the columns id and label, and an
    empty label removes the example. Raises DarkroomError if the file is missing or invalid, if it names an unknown
    example or class, or if it corrects an example twice.
    """
    path = folder / (FILE if name == AUTO else name)
    if name == NONE or (name == AUTO and not path.exists()):
        return {}
    indices = {example: index for index, example in enumerate(ids)}
    numbers = {title: label for label, title in enumerate(classes)}
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if name == AUTO and not text.strip():
            return {}
        if "by" in (rows.fieldnames or ()):
            given = answers.parse(text)
            _check((row[:2] for row in given), indices, classes, "if it is unclear")
            opinions = answers.opinions(given)
            return {indices[example]: _judged(labels, numbers) for example, labels in opinions.items()}
        corrections = _corrections(rows)
        _check(corrections, indices, classes, "to remove the example")
        return {indices[example]: _corrected(label, numbers) for example, label in corrections}
    except FileNotFoundError:
        raise DarkroomError(
            f"preprocess.relabel = {name}: {path} is missing: create it, or set the parameter to none."
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} is invalid: {error}. Correct it, or set preprocess.relabel to none.") from None


def apply(samples: Samples, verdicts: Mapping[int, Verdict]) -> Samples:
    """Give the examples their labels; an unlabelled example with a label becomes a training example.

    Examples that a correction removes are taken out of their split; `leave_out` does so with the unclear ones.
    """
    labels = samples.labels.copy()
    given = {index: verdict.label for index, verdict in verdicts.items() if verdict.label != NO_LABEL}
    labels[list(given)] = list(given.values())
    removed = [index for index in verdicts if index not in given and verdicts[index].rule == "relabelled"]
    moved = replace(samples, labels=labels).move(np.array(removed, dtype=np.int64), "")
    return moved.move(newly_labelled(samples, verdicts), "train")


def leave_out(samples: Samples, verdicts: Mapping[int, Verdict]) -> Samples:
    """Take unclear and disputed examples out of their split, once the test split is known: it keeps them."""
    unclear = [index for index, verdict in verdicts.items() if verdict.label == NO_LABEL]
    return samples.move(np.array([index for index in unclear if samples.splits[index] != "test"], dtype=np.int64), "")


def newly_labelled(samples: Samples, verdicts: Mapping[int, Verdict]) -> np.ndarray:
    """Indices (n,) int64 of the unlabelled examples that get a label.

    They must stay in training: the examples that a network chose to have labelled are not a random sample to test on.
    """
    chosen = [index for index, verdict in verdicts.items() if verdict.label != NO_LABEL and samples.labels[index] < 0]
    return np.array(sorted(chosen), dtype=np.int64)


def group_leaks(samples: Samples, indices: np.ndarray) -> dict[int, Finding]:
    """A finding by index for each of the newly labelled examples at `indices` whose group is held out elsewhere."""
    held_out = set(samples.groups[np.isin(samples.splits, ["val", "test"])].tolist()) - {""}
    return {
        index: Finding(samples.ids.item(index), "train", "leak", f"group {group} is held out", REMOVED)
        for index in indices.tolist()
        if (group := samples.groups.item(index)) in held_out and samples.splits[index] == "train"
    }


def findings(
    before: Samples, after: Samples, verdicts: Mapping[int, Verdict], splits: np.ndarray, classes: Sequence[str]
) -> dict[int, Finding]:
    """One finding by index for each example that `apply` or `leave_out` change, and for each unclear test example.

    `before` and `after` are the samples before the first and after the second; `splits` (N,) are those to report. The
    action is LABELLED for an unlabelled example, RELABELLED for another one, REMOVED, or KEPT for a test example.
    """
    found = {}
    for index, verdict in sorted(verdicts.items()):
        label = before.labels.item(index)
        if verdict.label == label != NO_LABEL:
            continue
        action = RELABELLED if label != NO_LABEL else LABELLED
        if verdict.label == NO_LABEL:
            action = KEPT if after.splits[index] else REMOVED
        detail = f"{f'labelled {classes[label]}' if label != NO_LABEL else 'unlabelled'}, {verdict.detail}"
        rule = LABELLED if action == LABELLED else verdict.rule
        found[index] = Finding(before.ids.item(index), splits.item(index), rule, detail, action)
    return found


def _corrections(rows: csv.DictReader) -> list[tuple[str, str]]:
    """Id and label of each row; raises ValueError with a phrase that names the row."""
    if missing := [name for name in ("id", "label") if name not in (rows.fieldnames or ())]:
        raise ValueError(f"missing column {', '.join(missing)}")
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        if row["id"] in found:
            raise ValueError(f"row {number}: id = {row['id']!r} appears twice")
        if row["label"] is None:
            raise ValueError(f"row {number}: id = {row['id']!r} has no label")
        found[row["id"]] = row["label"]
    return list(found.items())


def _check(rows: Iterable[tuple[str, str]], known: Container[str], classes: Sequence[str], empty: str) -> None:
    """Raise ValueError that names the first row whose id or label is unknown; `empty` says what no label means."""
    for number, (example, label) in enumerate(rows, 1):
        if example not in known:
            raise ValueError(f"row {number}: id = {example!r} is not in the dataset")
        if label and label not in classes:
            raise ValueError(f"row {number}: label = {label!r} must be one of {', '.join(classes)}, or empty {empty}")


def _corrected(label: str, numbers: Mapping[str, int]) -> Verdict:
    return Verdict(numbers.get(label, NO_LABEL), "relabelled", f"corrected to {label}" if label else "removed by hand")


def _judged(labels: Mapping[str, str], numbers: Mapping[str, int]) -> Verdict:
    """The verdict of people, given the label of each."""
    label = answers.majority(labels.values())
    said = ", ".join(f"{label or 'unclear'} ({person})" for person, label in sorted(labels.items()))
    rule = "disputed" if label is None else "relabelled" if label else "unclear"
    return Verdict(numbers.get(label or UNCLEAR, NO_LABEL), rule, f"{BY_HAND}{said}")
