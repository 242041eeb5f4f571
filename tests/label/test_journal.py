import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.datasets import answers
from darkroom.label.journal import Journal, NotSaved
from tests.repository import ROOT

HEADER = "id,label,by,at\n"


def opened(folder: Path, by: str = "anna") -> Journal:
    return Journal(folder, folder / "locks" / "toy.lock", by)


def written(folder: Path) -> list[tuple[str, str, str]]:
    return [row[:3] for row in answers.parse((folder / "labels.csv").read_text(encoding="utf-8"))]


def test_an_answer_is_in_the_file_at_once(tmp_path: Path):
    journal = opened(tmp_path)
    assert not journal.path.exists()  # a page that is only opened changes nothing
    journal.append("a", "cat")
    journal.append('b, "c"\nd', "")
    assert written(tmp_path) == [("a", "cat", "anna"), ('b, "c"\nd', "", "anna")]
    assert journal.path.read_text().startswith(HEADER)
    assert [one.at for one in journal.rows] == sorted({one.at for one in journal.rows})


def test_undo_takes_back_the_last_row_of_the_same_person(tmp_path: Path):
    first = opened(tmp_path, "ben")
    first.append("z", "dog")
    first.close()
    journal = opened(tmp_path)
    assert journal.undo() is None
    journal.append("a", "cat")
    journal.append('b, "c"\nd', "owl")
    assert journal.undo().id == 'b, "c"\nd'
    journal.append("e", "owl")
    assert [row[0] for row in written(tmp_path)] == ["z", "a", "e"]
    journal.undo(), journal.undo()
    assert (journal.undo(), written(tmp_path)) == (None, [("z", "dog", "ben")])


@pytest.mark.parametrize(
    ("contents", "kept"),
    [
        ("a,cat,anna,2026-01-31T12:00:00.000Z\nb,do", ["a"]),
        ("a,cat,anna,2026-01-31T12:00:00.000Z\nb,dog,anna,2026-01-31T12:00:0", ["a"]),
        ('a,cat,anna,2026-01-31T12:00:00.000Z\n"b\n', ["a"]),
        ("a,cat,anna,2026-01-31T12:00:00.000Z\nb,dog,anna,2026-01-31T12:00:01.000Z", ["a", "b"]),
        ("a,cat,anna,2026-01-31T12:00:00.000Z\r\n", ["a"]),
    ],
)
def test_an_incomplete_last_row_is_cut_off(tmp_path: Path, contents: str, kept: list[str]):
    (tmp_path / "labels.csv").write_bytes(f"{HEADER}{contents}".encode())
    journal = opened(tmp_path)
    assert [row.id for row in journal.rows] == kept
    assert bool(journal.repaired) == (len(kept) < 2 and not contents.endswith("\r\n"))
    journal.append("c", "owl")
    assert [row[0] for row in written(tmp_path)] == [*kept, "c"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1), min_size=1, max_size=5),
    cut=st.integers(0, 400),
)
def test_a_file_that_is_cut_anywhere_keeps_all_complete_rows(tmp_path: Path, ids: list[str], cut: int):
    path = tmp_path / "labels.csv"
    path.unlink(missing_ok=True)
    journal, ends = opened(tmp_path), []
    for one in ids:
        journal.append(one, "cat")
        ends.append(path.stat().st_size)
    journal.close()
    path.write_bytes(path.read_bytes()[:cut])
    again = opened(tmp_path)
    complete = sum(end - 1 <= cut for end in ends)  # the last line break alone may be missing
    assert [row.id for row in again.rows] == ids[:complete]
    again.append("more", "dog")
    assert [row[0] for row in written(tmp_path)] == [*ids[:complete], "more"]
    again.close()


@pytest.mark.parametrize(
    "contents", [f"{HEADER}a,cat,anna,2026-01-31T12:00:00Z\n".replace("\n", "\r").encode(), b"\xff\xfe\0", b"id;label"]
)
def test_a_file_without_any_line_feed_is_left_as_it_is(tmp_path: Path, contents: bytes):
    (tmp_path / "labels.csv").write_bytes(contents)
    with pytest.raises(DarkroomError, match="no row ends with a line feed"):
        opened(tmp_path)
    assert (tmp_path / "labels.csv").read_bytes() == contents


def test_quotation_marks_within_a_value_cut_nothing_off(tmp_path: Path):
    times = [f"2026-01-31T12:00:0{second}.000Z" for second in range(4)]
    rows = "".join(f"{one},cat,ben,{time}\n" for one, time in zip(['5" plate', "b", "c", 'd"'], times, strict=True))
    (tmp_path / "labels.csv").write_text(HEADER + rows.removesuffix("\n"))
    journal = opened(tmp_path, "ben")
    assert ([row[0] for row in written(tmp_path)], journal.repaired) == (['5" plate', "b", "c", 'd"'], "")
    assert journal.undo().id == 'd"'
    assert [row[0] for row in written(tmp_path)] == ['5" plate', "b", "c"]


@pytest.mark.parametrize(
    "contents",
    [
        f'{HEADER}"a,cat,ben,2026-01-31T12:00:00.000Z\nb,cat,ben,2026-01-31T12:00:01.000Z\n',
        f'{HEADER}"a,cat,ben,2026-01-31T12:00:00Z\nb,cat,ben,20260131T120001\n',
        f'{HEADER}"a,cat,ben,2026-01-31T12:00:00Z\n',
        'by,at,id,label\nben,2026-01-31 12:00,"a,cat\nben,2026-01-31 12:01,b,cat\n',
        'id,label,by,at,note\n"a,cat,ben,2026-01-31T12:00:00Z,\nb,cat,ben,2026-01-31T12:00:01Z,x\n',
    ],
)
def test_complete_rows_after_an_invalid_one_are_not_cut_off(tmp_path: Path, contents: str):
    (tmp_path / "labels.csv").write_text(contents)
    with pytest.raises(DarkroomError, match="line 2"):
        opened(tmp_path)
    assert (tmp_path / "labels.csv").read_text() == contents


@pytest.mark.parametrize(
    "contents",
    [
        f"{HEADER}a,cat,ben,2026-01-31T12:00:00Z\nb,cat,ben,2026-01-31T12:00:01Z",
        "by,at,id,label\nben,2026-01-31T12:00:00Z,a,cat\nben,2026-01-31 12:00:01+01:00,b,cat",
        f"{HEADER}b,cat,ben,2026-01-31T12:00Z",
        f"{HEADER}b,cat,ben,2026-01-31T12:00:01.123456+00:00",
        *(
            f"{HEADER}a,cat,ben,{time}\nb,cat,ben,{time}"
            for time in (
                "2026-01-31 12:00:01",
                "2026-01-31",
                "2026-01-31T12:00:00.5Z",
                "2026-01-31T12:00:01.123456+00:00",
            )
        ),
    ],
)
def test_a_last_row_of_others_without_a_line_feed_is_complete(tmp_path: Path, contents: str):
    (tmp_path / "labels.csv").write_text(contents)
    journal = opened(tmp_path)
    journal.append("c", "dog")
    assert [row[0] for row in written(tmp_path)][-2:] == ["b", "c"] and journal.repaired == ""
    assert len(written(tmp_path)) == contents.count("\n") + 1


@pytest.mark.parametrize("torn", ["", "c", "cat"])
def test_an_incomplete_last_row_is_cut_off_in_any_order_of_columns(tmp_path: Path, torn: str):
    first = "by,at,id,label\nben,2026-01-31T12:00:00Z,a,cat\n"
    (tmp_path / "labels.csv").write_text(f"{first}anna,2026-01-31T12:00:01.123Z,b.png,{torn}")
    assert opened(tmp_path).repaired and (tmp_path / "labels.csv").read_text() == first


def test_undo_takes_back_an_answer_before_blank_lines(tmp_path: Path):
    first, second = (f"{one},cat,anna,2026-01-31T12:00:00.000Z\n" for one in "ab")
    (tmp_path / "labels.csv").write_text(f"{HEADER}{first}\n{second}\n\r\n")
    journal = opened(tmp_path)
    assert journal.undo().id == "b" and [row[0] for row in written(tmp_path)] == ["a"]
    journal.append("c", "dog")
    assert [row[0] for row in written(tmp_path)] == ["a", "c"]
    assert (journal.undo().id, journal.undo().id, written(tmp_path)) == ("c", "a", [])


def test_one_process_at_a_time(tmp_path: Path):
    first = opened(tmp_path)
    with pytest.raises(DarkroomError, match=r"labels\.csv.* anna \(process \d+\)"):
        opened(tmp_path, "ben")
    first.close()
    opened(tmp_path, "ben")


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_a_file_that_another_program_changed_is_not_written(tmp_path: Path, change: str):
    journal = opened(tmp_path)
    journal.append("a", "cat")
    text = journal.path.read_text()
    if change == "append":
        journal.path.write_text(text + text.splitlines()[1] + "\n")
    elif change == "replace":
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(journal.path)
    else:
        journal.path.unlink()
    before = journal.path.read_bytes() if journal.path.exists() else None
    for action in (lambda: journal.append("b", "dog"), journal.undo):
        with pytest.raises(NotSaved, match="another program"):
            action()
    assert (journal.path.read_bytes() if journal.path.exists() else None) == before
    assert [row.id for row in journal.rows] == ["a"]


def test_a_link_into_a_cache_is_replaced_by_a_copy(tmp_path: Path):
    cached = tmp_path / "cached"
    cached.write_text(f"{HEADER}a,cat,anna,2026-01-31T12:00:00.000Z\n")
    (tmp_path / "labels.csv").hardlink_to(cached)
    opened(tmp_path).append("b", "dog")
    assert len(cached.read_text().splitlines()) == 2 and len(written(tmp_path)) == 2


def test_a_clock_that_is_set_back_does_not_make_an_answer_older(tmp_path: Path):
    (tmp_path / "labels.csv").write_text(f"{HEADER}a,cat,anna,2999-01-31T12:00:00.000Z\n")
    opened(tmp_path).append("a", "dog")
    rows = answers.parse((tmp_path / "labels.csv").read_text())
    assert answers.opinions(rows) == {"a": {"anna": "dog"}}


def test_other_columns_are_kept(tmp_path: Path):
    (tmp_path / "labels.csv").write_text("note,at,by,label,id\nseen,2026-01-31T12:00:00.000Z,ben,cat,a\n")
    opened(tmp_path).append("b", "dog")
    assert written(tmp_path) == [("a", "cat", "ben"), ("b", "dog", "anna")]


@pytest.mark.parametrize("text", ["id,label\na,cat\n", f"{HEADER}a,cat,anna,yesterday\n", f"{HEADER}<<<<<<< HEAD\n"])
def test_an_invalid_file_is_left_as_it_is(tmp_path: Path, text: str):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DarkroomError, match=r"labels\.csv is invalid"):
        opened(tmp_path)
    assert (tmp_path / "labels.csv").read_text() == text


def test_a_full_disk_loses_nothing(tmp_path: Path):
    """The system cuts a write at the largest size of a file, as it does on a full disk."""
    code = """
import sys
from pathlib import Path
from darkroom.label.journal import Journal, NotSaved
journal = Journal(Path(sys.argv[1]), Path(sys.argv[1]) / "lock", "anna")
saved = 0
try:
    for number in range(100):
        journal.append(f"{number:04}", "cat")
        saved += 1
except NotSaved as error:
    print(saved, "labels.csv" in str(error))
journal.undo()
journal.append("last", "dog")
"""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, preexec_fn=limit, check=True)
    saved = int(done.stdout.split()[0])
    assert saved > 10 and done.stdout.split()[1] == "True"
    assert [row[0] for row in written(tmp_path)] == [*(f"{number:04}" for number in range(saved - 1)), "last"]
