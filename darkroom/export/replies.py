"""The tables of replies in a dataset's folder: answers.csv, by class and language; and the rows of any such table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from darkroom.core.errors import DarkroomError
from darkroom.tokens import text

ANSWERS = "answers.csv"


def rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that has these columns; raises DarkroomError that names the row, and what is wrong."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise ValueError(f"no column {' and '.join(missing)}")
        found = []
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                raise ValueError(f"row {number} has more or fewer values than the header")
            if "answer" in columns and not 1 <= len(row["answer"].strip()) <= text.MAX_CHARACTERS:
                raise ValueError(f"row {number}: an answer needs 1 to {text.MAX_CHARACTERS:,} characters")
            found.append(row)
    except UnicodeDecodeError as error:
        raise DarkroomError(f"{path} is not UTF-8 (byte {error.start + 1:,}): save it as UTF-8.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} needs the columns {' and '.join(columns)} ({error}): correct it.") from None
    return found


def answers(path: Path, classes: Sequence[str]) -> dict[str, dict[str, str]]:
    """The answers in answers.csv by class and language, which is "" if none is given.

    Raises DarkroomError if a row cannot be used, or if two rows are for the same class and language.
    """
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows(path, ("intent", "answer")), 1):
        intent, language = row["intent"], row.get("language", "").strip().lower()
        if intent not in classes:
            raise DarkroomError(f"{path}, row {number}: {intent!r} is not a class: correct the name.")
        if language in found.setdefault(intent, {}):
            raise DarkroomError(f"{path}, row {number}: a second answer for {intent!r} in one language: remove one.")
        found[intent][language] = row["answer"].strip()
    return found
