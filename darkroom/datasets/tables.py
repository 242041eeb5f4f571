"""Read tables of texts: a column of texts, one of labels, and optionally id, split, group and others.

CSV with commas, semicolons, tabs or vertical bars, or JSON lines, in UTF-8. Column names are matched without case and
blanks, under the usual names (TEXT, LABEL).
"""

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.core.errors import DarkroomError
from darkroom.datasets import answers, listing, records

SUFFIXES = (".csv", ".tsv", ".jsonl")
FILES = ".txt"  # suffix of files that hold one text each, see text_files.py
OTHERS = (answers.FILE, records.CORRECTIONS, "answers.csv", "faq.csv", *listing.MANIFESTS)  # with another meaning
TEXT = ("text", "question", "sentence", "utterance", "query", "message", "content")
LABEL = ("label", "intent", "category", "class", "target")
COLUMNS = ("text", "label", "id", "split", "group")
MAX_BYTES = 2**30  # larger files are not read
MAX_CELL = 2**25  # characters of a value; what a text may have is less, see darkroom/tokens/text.py

_EXCEL = "in Excel: Save As, CSV UTF-8"


def find(folder: Path) -> list[Path]:
    """The tables of texts in `folder`, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.casefold() in SUFFIXES
        and not path.name.startswith(".")
        and path.name.casefold() not in OTHERS
        and path.is_file()
    )


def read(path: Path, labelled: bool = True) -> Iterator[dict[str, Any]]:
    """The rows of a table; those of COLUMNS have these names, others the given ones.

    Unless `labelled`, there need not be labels. Raises DarkroomError that names what is wrong, where, and how to
    correct it.
    """
    names: dict[str, str] = {}
    for row in _rows(path):
        names = names or _named(row, path, labelled)
        yield {names.get(name, name): value for name, value in row.items()}


def _named(row: Mapping[str, Any], path: Path, labelled: bool) -> dict[str, str]:
    """The columns of a table by the names as given: text, label, id, split and group."""
    plain = {listing.stripped(str(name)).casefold(): name for name in row}
    found = {plain[name]: name for name in COLUMNS[2:] if name in plain}
    for column, allowed in (("text", TEXT), ("label", LABEL)) if labelled else (("text", TEXT),):
        name = next((name for name in allowed if name in plain), None)
        if name is None:
            given = ", ".join(map(repr, row))[:200]
            raise DarkroomError(
                f"{path} has no column {column} ({', '.join(allowed[1:])} are understood too), but {given}: name the "
                "columns in the first line."
            )
        found[plain[name]] = column
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DarkroomError(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}: split it into train and test.")
        contents = path.read_bytes()
    except OSError as error:
        raise DarkroomError(f"{path} cannot be read ({error.strerror or error}).") from None
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents[: error.start].count(b"\n") + 1
        found = "but UTF-16" if contents.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else f"in line {line}"
        raise DarkroomError(f"{path} is not UTF-8, {found}: save it as UTF-8 ({_EXCEL}).") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        reason = f"a NUL character in line {line}"
        raise DarkroomError(f"{path} has {reason}: save it as UTF-8 ({_EXCEL}), or remove the character.")
    try:
        yield from (_json_rows if path.suffix.casefold() == ".jsonl" else _csv_rows)(text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): correct it.") from None


def _json_rows(text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not an object")
            if odd := next((name for name, value in row.items() if isinstance(value, dict | list)), None):
                raise ValueError(f"line {number}: {odd!r} must be a text")
            yield row


def _csv_rows(text: str) -> Iterator[dict[str, Any]]:
    limit = csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        header: list[str] = []
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if not header:
                header = row
                if twice := [name for name, count in Counter(header).items() if count > 1]:
                    raise ValueError(f"two columns are named {twice[0]!r}")
            elif len(row) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(row)} values for {len(header)} columns: quote texts")
            else:
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ValueError(f"near line {reader.line_num}: {error}; check its quotes") from None
    finally:
        csv.field_size_limit(limit)


def _delimiter(text: str) -> str:
    """That of the first line: the one that separates a column of texts from others, best from labels; else a comma."""
    line = next((line for line in text.splitlines() if line.strip()), "")

    def known(delimiter: str) -> int:
        names = {listing.stripped(name.strip('"')).casefold() for name in line.split(delimiter)}
        return bool(names & set(TEXT)) + bool(names & set(LABEL))

    return max(",;\t|", key=known)
