"""Read a table in blocks of rows: CSV with commas, semicolons, tabs or vertical bars, in UTF-8."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted

SUFFIXES = (".csv", ".tsv")
CORRECTIONS = "corrections.csv"  # a table for `preprocess.relabel`; of images it may have any name
BLOCK = 10_000  # rows at a time
MAX_CELL = 2**17  # characters of a value
_BOM = "utf-8-sig"


def find(folder: Path) -> list[Path]:
    """The tables in `folder`, sorted, without corrections of labels."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.casefold() in SUFFIXES
        and not path.name.startswith(".")
        and path.name.casefold() != CORRECTIONS
        and path.is_file()
    )


def header(path: Path) -> list[str]:
    """The names of the columns, without blanks at their ends; raise DarkroomError if one is missing or given twice.

    The first column may have no name: it numbers the rows, as some programs write it.
    """
    return _named(next(_lines(path), []), path)


def _named(cells: Sequence[str], path: Path) -> list[str]:
    names = [name.strip() for name in cells]
    if not any(names):
        raise DarkroomError(f"{path} has no columns: its first line must name them.")
    if "" in names[1:]:
        raise DarkroomError(f"{path}: column {names.index('', 1) + 1} of {len(names)} has no name: give it one.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DarkroomError(f"{path} has the column {twice!r} twice: rename or remove one.")
    return names


def blocks(path: Path, size: int = BLOCK) -> Iterator[list[list[str]]]:
    """The rows of a table behind its header, at most `size` at a time.

    Raises DarkroomError that names the line if the file is not UTF-8, or if a row has another number of values.
    """
    width, rows = len(header(path)), _lines(path)
    next(rows)
    yield from _blocks(path, rows, width, size)


def parse(lines: Iterable[str], source: str, most: int) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and at most the first `most` rows of a table; raise DarkroomError as `blocks` does."""
    rows = _cells(lines, Path(source))
    names = _named(next(rows, []), Path(source))
    return names, next(_blocks(Path(source), rows, len(names), most), [])


def _blocks(path: Path, rows: Iterator[list[str]], width: int, size: int) -> Iterator[list[list[str]]]:
    first = 2
    while block := list(islice(rows, size)):
        for number, row in enumerate(block, first):
            if len(row) != width:
                given = f"{counted(len(row), 'value')} for {counted(width, 'column')}"
                raise DarkroomError(f"{path}, row {number - 1}: {given}: quote values with separators.")
        first += len(block)
        yield block


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding=_BOM, newline="") as file:
            yield from _cells(file, path)
    except UnicodeDecodeError:
        raise DarkroomError(f"{path} is not UTF-8: save it as CSV UTF-8.") from None
    except OSError as error:
        raise DarkroomError(f"{path} cannot be read ({error.strerror or error}).") from None


def _cells(lines: Iterable[str], path: Path) -> Iterator[list[str]]:
    """The cells of each line that is not blank."""
    lines = iter(lines)
    first = next(lines, "")
    reader = csv.reader(_checked(chain([first], lines), path), delimiter=_delimiter(first), strict=True)
    limit = csv.field_size_limit(MAX_CELL)
    try:
        for row in reader:
            if any(map(str.strip, row)):
                yield row
    except csv.Error as error:
        raise DarkroomError(f"{path}, line {reader.line_num}: {error}: check its quotes and characters.") from None
    finally:
        csv.field_size_limit(limit)


def _checked(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DarkroomError(f"{path}, line {number} has a NUL character: save it as CSV UTF-8, or remove it.")
        yield line


def _delimiter(line: str) -> str:
    """The most frequent separator of the first line, outside of quotes; of equally frequent ones the first of these."""
    return max(",;\t|", key=re.sub('"[^"]*"', "", line).count)


def columns_of(block: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The values of each column of some rows."""
    return list(zip(*block, strict=True))
