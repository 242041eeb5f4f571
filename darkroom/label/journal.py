"""labels.csv as the label page writes it: each answer is on the disk before the next example is shown.

An answer is one line, appended with one write and flushed. If the process is killed within it, the next start cuts the
incomplete line off: its answer was never confirmed. Undo takes the last line back.
"""

import csv
import fcntl
import io
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_file
from darkroom.datasets import answers
from darkroom.datasets.answers import COLUMNS, FILE, Answer

_COMPLETE = re.compile(rb",\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\r?\n?$")  # the end of a line that this module wrote
_OWN = re.compile(rb"T\d\d:\d\d:\d\d\.\d{3}Z")  # the time of a row that this module wrote
_ZONED = re.compile(rb":\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)(,|\s*$)")  # the end of a whole time
_ROW = re.compile(rb"\d{4}-?\d\d-?\d\d[^\n]*\n")  # a line of any labels.csv: it has a date


class NotSaved(DarkroomError):
    """An answer is not on the disk; labels.csv is as before."""


class Journal:
    """The answers in labels.csv of one folder, and one more at a time.

    `lock` is a file that only one process can hold. `repaired` is the incomplete line that was cut off, if there was
    one. Raises DarkroomError if another process holds the lock, or if labels.csv is invalid.
    """

    def __init__(self, folder: Path, lock: Path, by: str):
        self.path, self.by = folder / FILE, by
        self._lock = _locked(lock, self.path, by)
        self.repaired = ""
        try:
            contents = self.path.read_bytes() if self.path.exists() else b""
            end, self.repaired = _complete_end(contents)
            self.rows = answers.parse(contents[:end].decode("utf-8-sig")) if end else []
            self._names = next(csv.reader([contents[:end].decode("utf-8-sig").splitlines()[0]])) if end else COLUMNS
        except (OSError, ValueError, csv.Error) as error:
            self.close()
            raise DarkroomError(f"{self.path} is invalid: {error}. Correct it, or move it away.") from None
        if contents and (end < len(contents) or contents[-1:] != b"\n" or _is_shared(self.path)):
            # A copy, because a file that DVC put there may be a link into its cache.
            with new_file(self.path) as temporary:
                temporary.write_bytes(contents[:end] + (b"" if contents[:end].endswith(b"\n") or not end else b"\n"))
        self._seen = self._stat()

    def append(self, example: str, label: str) -> Answer:
        """Write one answer and flush it to the disk; raises NotSaved if that fails."""
        self._require_unchanged()
        now = datetime.now(UTC)
        if self.rows:  # the latest answer counts, so a clock that was set back must not make this one older
            now = max(now, answers.when(self.rows[-1]) + timedelta(milliseconds=1))
        at = now.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        answer = Answer(example, label, self.by, f"{at}Z")
        header = b"" if self._seen[0] else _line(self._names)
        self._write(header + _line([dict(zip(COLUMNS, answer, strict=True)).get(name, "") for name in self._names]))
        self.rows.append(answer)
        return answer

    def undo(self) -> Answer | None:
        """Take the last row back and return it; None if there is none, or if it is of another person."""
        self._require_unchanged()
        if not self.rows or self.rows[-1].by != self.by:
            return None
        start = _last_line(self.path.read_bytes())
        try:
            with self.path.open("r+b") as file:
                file.truncate(start)
                os.fsync(file.fileno())
        except OSError as error:
            raise NotSaved(f"Nothing was undone: {self.path} cannot be written ({error.strerror}).") from None
        finally:
            self._seen = self._stat()
        return self.rows.pop()

    def close(self) -> None:
        """Let other processes write."""
        os.close(self._lock)

    def _write(self, line: bytes) -> None:
        """Append `line` as a whole, or leave the file as it was and raise NotSaved."""
        before = self._seen[0]
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(None, "the disk is full")
                os.fsync(descriptor)
                if not before:
                    _flush_folder(self.path.parent)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotSaved(
                f"The answer was not saved: {self.path} cannot be written ({error.strerror}). All earlier answers are "
                "safe. Make room or give access, then answer again."
            ) from None
        finally:
            if (after := self._stat())[0] in (before, before + len(line)):  # else the next start repairs the file
                self._seen = after

    def _require_unchanged(self) -> None:
        if self._stat() != self._seen:
            raise NotSaved(
                f"The answer was not saved: another program changed {self.path}. All answers are safe. Stop this "
                "program with Ctrl+C, and start `python -m darkroom.label` again."
            )

    def _stat(self) -> tuple[int, ...]:
        """Size, identity, number of links and time of change of the file; (0,) if there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return (0,)
        return found.st_size, found.st_ino, found.st_nlink, found.st_mtime_ns


def _locked(lock: Path, path: Path, by: str) -> int:
    """The descriptor of the lock file. The system releases the lock when the process ends, however it ends."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 1000).decode(errors="replace") or "another process"
        os.close(descriptor)
        raise DarkroomError(
            f"{path} is being written by {owner}: use its page, or stop it first. Nobody's answers may be mixed up."
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"python -m darkroom.label of {by} (process {os.getpid()})".encode())
    return descriptor


def _line(values: Sequence[str]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow(values)
    return file.getvalue().encode()


def _line_ends(contents: bytes) -> list[int]:
    """Where each row ends, after its line break; not where blank lines do, nor any row from the first invalid one on.

    A line break within quotes ends no row.
    """
    lines = [line + b"\n" for line in contents.split(b"\n")[:-1]]
    after = [0, *accumulate(map(len, lines))]
    rows = csv.reader((line.decode(errors="replace") for line in lines), strict=True)
    ends = []
    with suppress(csv.Error):
        ends.extend(after[rows.line_num] for row in rows if row)
    return ends


def _last_line(contents: bytes) -> int:
    """Where the last row begins."""
    return ([0, *_line_ends(contents)])[-2]


def _complete_end(contents: bytes) -> tuple[int, str]:
    """Where the complete rows end, and the incomplete row after them, if there is one.

    A last row without a line break is complete if it ends in a time as this module writes it, or if others wrote it and
    it can be read: an editor may have saved it so. Raises ValueError if complete rows would be cut off, too; and for a
    file without any line break that this module cannot have begun, such as one with the line ends of another system.
    """
    end = ([0, *_line_ends(contents)])[-1]
    rest = contents[end:]
    if not rest.strip() or (end and _COMPLETE.search(rest) and _line_ends(rest + b"\n")):
        return len(contents), ""
    if end and b"\n" not in rest and _is_of_others(contents[:end], rest) and _is_readable(contents):
        return len(contents), ""
    if _ROW.search(rest):
        number = contents.count(b"\n", 0, end) + 1
        raise ValueError(f"the row that begins in line {number} is broken; look for a quotation mark")
    if not end and not _line(COLUMNS).startswith(rest):
        raise ValueError("no row ends with a line feed; save it as UTF-8 with such line ends")
    return end, rest.decode(errors="replace")


def _is_of_others(before: bytes, rest: bytes) -> bool:
    """Whether this module did not write the row `rest`: as its time shows, or the row before it."""
    _, *rows = before.splitlines()
    written_by_others = bool(rows) and not _OWN.search(rows[-1])
    return not _OWN.search(rest) and (written_by_others or bool(_ZONED.search(rest)))


def _is_readable(contents: bytes) -> bool:
    try:
        return bool(answers.parse(contents.decode("utf-8-sig")))
    except (ValueError, csv.Error):
        return False


def _is_shared(path: Path) -> bool:
    return path.is_symlink() or path.stat().st_nlink > 1 or not os.access(path, os.W_OK)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
