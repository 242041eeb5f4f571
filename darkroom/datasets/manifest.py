"""Read a manifest: a table of the path and label, and optionally the split, group and other facts, of each image.

CSV with commas, semicolons, tabs or vertical bars, or JSON lines; UTF-8, UTF-16 or UTF-32. Column names, splits and
groups are matched without case and blanks, so that none of them is lost because of its spelling.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from darkroom.core.arrays import SPLITS, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import closest
from darkroom.datasets import listing
from darkroom.datasets.listing import Listed

Row = list[tuple[str, Any]]  # name of a column as given, and value

MAX_CELL = 100  # characters of a value of another column; a column with longer values is not kept

_REQUIRED = ("path", "label")
_KNOWN = (*_REQUIRED, "split", "group")
_MARKS = {  # byte order mark -> encoding; UTF-32 first, because its mark starts with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass
class _Columns:
    """The columns of a manifest, by their names as given."""

    path: Path
    names: dict[str, str] = field(default_factory=dict)  # name as given -> one of _KNOWN, or the name without blanks

    def read(self, row: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """The values by column; raise DarkroomError if a column is ambiguous or misspelt."""
        values: dict[str, Any] = {}
        given: dict[str, str] = {}
        for name, value in row:
            column = self.names[name] if name in self.names else self._add(name)
            if not column:
                continue
            if column in given:
                raise DarkroomError(f"{self.path} has the columns {given[column]!r} and {name!r}: keep one of them.")
            given[column], values[column] = name, value
        return values

    def _add(self, name: str) -> str:
        stripped = listing.stripped(name)
        plain = stripped.casefold()
        if plain not in _KNOWN and plain and (meant := closest(plain, _KNOWN, cutoff=0.8)):
            remedy = f"rename it to {meant}, or choose another name if it does not mean this"
            raise DarkroomError(f"{self.path} has the column {name!r}: {remedy}.")
        self.names[name] = plain if plain in _KNOWN else stripped
        return self.names[name]


def find(folder: Path) -> Path | None:
    """The manifest in `folder`, if there is one; raise DarkroomError if there are several."""
    found = sorted(path for path in folder.iterdir() if path.name.casefold() in listing.MANIFESTS and not path.is_dir())
    if len(found) > 1:
        raise DarkroomError(f"{folder} has {' and '.join(path.name for path in found)}: keep one of them.")
    return found[0] if found else None


def read(path: Path) -> tuple[list[Listed], list[str]]:
    """The rows of a manifest, and the names of the columns that are not kept because of their long values.

    Raises DarkroomError that names the row or column, its value and what is allowed.
    """
    columns = _Columns(path)
    rows: dict[str, int] = {}  # path of an image -> number of its row
    groups: dict[str, str] = {}
    listed, others, long = [], [], {}
    for number, row in _rows(path):
        where = f"{path}, row {number}"
        given = columns.read(row)
        values = {name: _text(given.pop(name), where, name) for name in _KNOWN if name in given}
        if not listing.stripped(values.get("path", "")):
            raise DarkroomError(f"{where} has no path: every row needs one.")
        label = listing.stripped(values.get("label", ""))
        split = row_split(listing.stripped(values.get("split", "")), label, where)
        file = _file(values["path"], path.parent, where)
        if file in rows:
            same = f"the same path {values['path']!r} as row {rows[file]}"
            raise DarkroomError(f"{where} has {same}: keep one of them.")
        rows[file] = number
        group = listing.stripped(values.get("group", ""))
        group = groups.setdefault(listing.key(group), group)  # groups that differ in case or blanks only are one
        listed.append(Listed(file, label, split, group))
        others.append({name: plain(value) for name, value in given.items()})
        listing.require_unicode({"group": group, **others[-1]}, where)
        long |= dict.fromkeys(name for name, text in others[-1].items() if len(text) > MAX_CELL)
    kept = ({name: text for name, text in other.items() if name not in long} for other in others)
    texts = (json.dumps(other, ensure_ascii=False) if other else "" for other in kept)
    return [row._replace(columns=text) for row, text in zip(listed, texts, strict=True)], list(long)


def row_split(given: str, label: str, where: str) -> str:
    """The split of a row; a row without a label is unlabelled, and may be in no other split than training."""
    split = listing.split_named(given)
    if label and given and not split:
        raise DarkroomError(f"{where} has the split {given!r}: it must be {', '.join(SPLITS)} or empty.")
    if label:
        return split
    if given and split != "train" and not listing.means_unlabelled(given):
        remedy = "give it a label, or leave the split empty"
        raise DarkroomError(f"{where} has no label, but the split {given!r}: {remedy}.")
    return UNLABELLED


def columns(folder: Path) -> list[str]:
    """The columns that are kept of the manifest in `folder`: group, if there are groups, and those of other facts.

    Empty without a manifest. Raises DarkroomError as `read` does.
    """
    path = find(folder)
    listed = read(path)[0] if path else []
    others = dict.fromkeys(name for texts in {row.columns for row in listed} - {""} for name in json.loads(texts))
    return [*(["group"] if any(row.group for row in listed) else []), *sorted(others)]


def _text(value: Any, where: str, name: str) -> str:
    """The text of a value of JSON; numbers as JSON writes them."""
    if listing.is_absent(value):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    raise DarkroomError(f"{where} has the {name} {value!r}: it must be text or a number.")


def plain(value: Any) -> str:
    """Any value of JSON as text in one line, without blanks at its ends; "" for none."""
    text = value if isinstance(value, str) else "" if listing.is_absent(value) else json.dumps(value)
    return listing.stripped(" ".join(text.split()))


def _file(given: str, folder: Path, where: str) -> str:
    """The path of an image in `folder`. Blanks at its ends and backslashes are kept if a file has exactly this name."""
    path = given
    if (path != listing.stripped(path) or "\\" in path) and not _exists(folder / path):
        path = listing.stripped(path).replace("\\", "/")
    file = PurePosixPath(path)
    if file.is_absolute() or ".." in file.parts or re.match("[A-Za-z]:/", path):
        raise DarkroomError(f"{where} has the path {given!r}: it must be in the folder of the manifest.")
    return str(file)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # ValueError: a null character
        return False


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Number and values of each row; the numbers start at 1."""
    try:
        with path.open(encoding=_encoding(path), newline="") as file:
            yield from (_json_rows if path.suffix.casefold() == ".jsonl" else _csv_rows)(file)
    except UnicodeDecodeError as error:
        raise DarkroomError(f"{path} cannot be read (it is not {error.encoding.upper()}): save it as UTF-8.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): correct it.") from None


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if len(start) == 4 and start[0] and start[2] and start[1] == start[3] == 0:  # ASCII characters without a mark
        return "utf-16-le"
    if len(start) == 4 and start[1] and start[3] and start[0] == start[2] == 0:
        return "utf-16-be"
    return "utf-8-sig"


def _json_rows(lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"row {number} is not an object")
            yield number, list(row.items())


def _csv_rows(lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    filled = (line for line in lines if line.strip())
    first = next(filled, "")
    header, delimiter = _header(next(filled, "") if first.startswith("sep=") else first)  # Excel notes its delimiter
    rows = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    for number, row in enumerate((row for row in rows if any(map(str.strip, row))), 1):
        if len(row) > len(header):
            raise ValueError(
                f"row {number} has {len(row)} values for {len(header)} columns: quote {delimiter!r} in values"
            )
        yield number, list(zip(header, row, strict=False))


def _header(line: str) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter."""
    missing: list[str] = []
    for delimiter in ",;\t|":
        try:
            header = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True), [])
        except csv.Error:  # another delimiter follows the quotes
            header = []
        names = [listing.stripped(name).casefold() for name in header]
        absent = [name for name in _REQUIRED if name not in names]
        if not absent:
            return header, delimiter
        missing = missing or absent
    found = listing.stripped(line) or "nothing"
    raise ValueError(f"missing columns: {', '.join(missing)}; the first line is {found[:80]!r}")
