from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.datasets import records


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    (path / "a.csv").write_bytes(text.encode(encoding))
    return path / "a.csv"


@pytest.mark.parametrize("separator", list(",;\t|"))
def test_the_separator_is_found(tmp_path: Path, separator: str):
    path = table(tmp_path, separator.join(["a", "b"]) + "\n" + separator.join(["1", "x"]) + "\n")
    assert records.header(path) == ["a", "b"] and list(records.blocks(path)) == [[["1", "x"]]]


def test_separators_in_quoted_names_do_not_count(tmp_path: Path):
    assert records.header(table(tmp_path, 'a;"b, c, d"\n1;2\n')) == ["a", "b, c, d"]


def test_quotes_line_ends_blank_lines_and_a_byte_order_mark(tmp_path: Path):
    path = table(tmp_path, '\ufeffa,b\r\n"1,5","x\r\ny"\r\n\r\n2,z\r\n')
    assert records.header(path) == ["a", "b"] and list(records.blocks(path)) == [[["1,5", "x\r\ny"], ["2", "z"]]]


def test_rows_come_in_blocks(tmp_path: Path):
    path = table(tmp_path, "a,b\n" + "1,2\n" * 5)
    assert list(map(len, records.blocks(path, 2))) == [2, 2, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,a\n1,2\n", "'a' twice"),
        ("a,,c\n1,2,3\n", "column 2 of 3"),
        ("\n", "no columns"),
        ("a,b\n1,2\n1,2,3\n", "row 2"),
        ("a,b\n1\n", "row 1"),
        ('a,b\n"1,2\n', "line"),
        ("a,b\n1,2\n1,\0\n", "line 3 has a NUL"),
    ],
)
def test_a_wrong_table_is_reported_with_its_place(tmp_path: Path, text: str, said: str):
    path = table(tmp_path, text)
    with pytest.raises(DarkroomError, match=said):
        records.header(path)
        list(records.blocks(path))


def test_a_table_in_another_encoding_is_reported(tmp_path: Path):
    with pytest.raises(DarkroomError, match="UTF-8"):
        records.header(table(tmp_path, "ä,b\n", "latin-1"))
    with pytest.raises(DarkroomError, match="UTF-8"):
        records.header(table(tmp_path, "a,b\n1,2\n", "utf-16-le"))  # without a byte order mark


def test_a_table_in_memory():
    assert records.parse(["a;b\n", "1;2\n", "3;4\n", "5\n"], "body", 2) == (["a", "b"], [["1", "2"], ["3", "4"]])
    assert records.parse(["a;b\n"], "body", 2) == (["a", "b"], [])
    with pytest.raises(DarkroomError, match="twice"):
        records.parse(["a;a\n"], "body", 2)
