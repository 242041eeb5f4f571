from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.predict.table import inputs, line, opened, printable

HEADER, VERSION = ["path", "label", "error", "bundle"], "0123456789ab-fp32"
TEXT = st.text(st.characters(exclude_characters="\0") | st.sampled_from('",\n\r'))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=6, unique_by=lambda row: row[0]), st.data())
@example([('a"\nb', ""), ("\n", '"')], None)
def test_a_table_that_is_cut_anywhere_keeps_its_complete_rows(
    tmp_path: Path, rows: list[tuple[str, str]], data: st.DataObject | None
):
    """Also with names that contain surrogates: no file system is involved."""
    path = tmp_path / "any.csv"
    lines = [line(HEADER), *(line([printable(name), "a", printable(error), VERSION]) for name, error in rows)]
    contents, ends = b"".join(lines), list(accumulate(map(len, lines)))
    for size in range(len(contents) + 1) if data is None else [data.draw(st.integers(0, len(contents)))]:
        path.write_bytes(contents[:size])
        whole = sum(end <= size for end in ends[1:])
        with opened(str(path), HEADER, VERSION) as (file, earlier):
            shown = {printable(name) for name, _ in rows[:whole]}
            assert [name in earlier for name, _ in rows] == [printable(name) in shown for name, _ in rows]
            assert (len(earlier.hashes), earlier.errors) == (whole, sum(error != "" for _, error in rows[:whole]))
            file.writelines(lines[whole + 1 :])
        assert path.read_bytes() == contents


@pytest.mark.parametrize("damaged", ['"a,x,,', '"a"b,x,,', 'a,x,",'])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_stray_quote_is_reported_and_no_row_is_lost(tmp_path: Path, damaged: str, after: int):
    path = tmp_path / "table.csv"
    contents = (
        line(HEADER)
        + line(["b", "x", "", VERSION])
        + f"{damaged}{VERSION}\n".encode()
        + line(["c", "x", "", VERSION]) * after
    )
    path.write_bytes(contents)
    with (
        pytest.raises(DarkroomError, match=r"table\.csv cannot be extended \(.*\)"),
        opened(str(path), HEADER, VERSION),
    ):
        pass
    assert path.read_bytes() == contents


def test_the_table_that_is_written_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "predictions.csv"):
        Path(name).write_text("x\n1\n")

    def folders(folder: Path) -> list[Path]:
        return sorted(folder.glob("*.csv"))

    assert inputs([Path()], folders, "predictions.csv") == [Path("a.csv")]
    assert inputs([tmp_path, Path("b.csv")], folders, "./predictions.csv") == [tmp_path / "a.csv", Path("b.csv")]
    assert len(inputs([Path()], folders, "-")) == len(inputs([Path()], folders, "new.csv")) == 2
