"""Which examples to label, in which order, and what is known about each."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, UNLABELLED, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.datasets.answers import Opinions
from darkroom.preprocess.relabel import BY_HAND

ARRAYS = Path("data/arrays")
QUEUE = Path(".darkroom/queue/queue.csv")  # columns id, and if you like predicted and reason
FINDINGS = Path("metrics/data/findings.csv")  # of preprocess: which labels are answers
GIVEN = ("labelled", "relabelled")  # its actions for them
SUSPECTS = (  # of python -m darkroom.crossval, and of the stage evaluate
    Path("metrics/labels/suspects.csv"),
    Path("metrics/labels/val_suspects.csv"),
    Path("metrics/evaluate/suspect_labels.csv"),
)


@dataclass(frozen=True)
class Example:
    """An example to label."""

    id: str
    predicted: str = ""  # the class that a model predicted when the list was made
    reason: str = ""  # why it is in the list
    answers: int = 1  # after so many it is done: 2 if its label is an answer that may be wrong


@dataclass(frozen=True)
class Chosen:
    """The examples to label, and where they are from."""

    examples: Sequence[Example]
    source: str  # a few words
    notes: Sequence[str] = field(default_factory=list)  # what was left out


class Packed:
    """The packed arrays: label and input of each example by its id."""

    def __init__(self, folder: Path = ARRAYS):
        self._folder, self._texts = folder, {}
        self.manifest = arrays.read_manifest(folder)
        self.splits: dict[str, Split] = {name: arrays.read_split(folder, name) for name in SPLITS}
        if (unlabelled := arrays.read_unlabelled(folder)) is not None:
            self.splits[UNLABELLED] = unlabelled
        self._rows = {
            example: (name, row)
            for name, split in self.splits.items()
            for row, example in enumerate(split.ids.tolist())
        }

    def __contains__(self, example: str) -> bool:
        return example in self._rows

    def label(self, example: str) -> str:
        """The present label; "" for an unlabelled or removed example."""
        name, row = self._rows.get(example, (UNLABELLED, 0))
        return "" if name == UNLABELLED else self.manifest.classes[self.splits[name].labels[row]]

    def pixels(self, example: str) -> np.ndarray:
        """The packed image (H, W, C) uint8."""
        name, row = self._rows[example]
        return np.array(self.splits[name].uncropped[row])

    def text(self, example: str) -> str:
        """The text, of a data set of texts."""
        name, row = self._rows[example]
        if name not in self._texts:
            self._texts[name] = arrays.read_texts(self._folder, name)
        return self._texts[name][row]

    def unlabelled(self) -> list[str]:
        """The ids of the unlabelled examples."""
        return self.splits[UNLABELLED].ids.tolist() if UNLABELLED in self.splits else []


def queue(packed: Packed, path: Path) -> Chosen:
    """The examples that the table names, as far as they are unlabelled."""
    rows, unlabelled = _read(path, ("id",)), set(packed.unlabelled())
    found = [Example(row["id"], row.get("predicted") or "", row.get("reason") or "") for row in rows]
    kept = [one for one in found if one.id in unlabelled]
    return Chosen(kept, f"chosen by {path}", _left_out(len(found) - len(kept), path, "not unlabelled any more"))


def suspects(packed: Packed, paths: Iterable[Path]) -> Chosen:
    """The examples whose label may be wrong, most suspect first, in the order of their tables without margins.

    A label that an answer gave needs a second one.
    """
    paths = list(paths)
    rows = [row for path in paths for row in _read(path, ("id",))]
    try:
        rows.sort(key=lambda row: -float(row.get("margin") or 0))
    except ValueError as error:
        raise DarkroomError(f"{paths[0]} is invalid ({error}): run the command that wrote it again.") from None
    given, why = _given(), "its label may be wrong"
    found = {}
    for row in rows:
        is_doubted = row["id"] in given and row.get("label") in (None, packed.label(row["id"]))
        found[row["id"]] = Example(row["id"], row.get("suggested") or "", why, 2 if is_doubted else 1)
    kept = [one for one in found.values() if one.id in packed]
    names = ", ".join(map(str, paths))
    return Chosen(kept, f"suspect labels of {names}", _left_out(len(found) - len(kept), names, "not in the data"))


def _given() -> set[str]:
    """The examples whose present label is an answer."""
    rows = _read(FINDINGS, ("id", "detail", "action")) if FINDINGS.exists() else []
    return {row["id"] for row in rows if row["action"] in GIVEN and f", {BY_HAND}" in row["detail"]}


def unlabelled(packed: Packed) -> Chosen:
    """All unlabelled examples, in the order of the data set."""
    return Chosen([Example(example) for example in packed.unlabelled()], "unlabelled examples")


def second_opinions(packed: Packed, opinions: Opinions, by: str) -> Chosen:
    """The examples that others have labelled and `by` has not; those on which the others disagree come first."""
    open_to = {example: labels for example, labels in opinions.items() if by not in labels and example in packed}
    order = sorted(open_to, key=lambda example: len(set(open_to[example].values())) == 1)
    return Chosen([Example(example) for example in order], "second opinions")


def _left_out(count: int, source: object, why: str) -> list[str]:
    return [f"{counted(count, 'example')} of {source} left out: {why}."] if count else []


def _read(path: Path, columns: Sequence[str]) -> list[Mapping[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise ValueError(f"missing column {', '.join(missing)}")
            return list(reader)
    except FileNotFoundError:
        raise DarkroomError(f"{path} is missing: name an existing table, or run the command that writes it.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} is invalid ({error}): run the command that wrote it again.") from None
