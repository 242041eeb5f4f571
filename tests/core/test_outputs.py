import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darkroom.core import outputs
from darkroom.core.errors import DarkroomError
from tests.repository import ROOT


def test_a_new_file_replaces_the_old_one_only_when_whole(tmp_path: Path):
    path = tmp_path / "deep" / "a.txt"
    outputs.write_text(path, "old\n")
    with pytest.raises(RuntimeError, match="disk"), outputs.new_file(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("disk")
    assert path.read_text() == "old\n"
    outputs.write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_new_folder_replaces_the_old_one_only_when_whole(tmp_path: Path):
    path = tmp_path / "a"
    with outputs.new_folder(path) as folder:
        (folder / "one").write_text("1")
    with pytest.raises(KeyboardInterrupt), outputs.new_folder(path) as folder:
        (folder / "two").write_text("2")
        raise KeyboardInterrupt
    assert [entry.name for entry in path.iterdir()] == ["one"]
    with outputs.new_folder(path) as folder:
        (folder / "three").write_text("3")
    assert [entry.name for entry in path.iterdir()] == ["three"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_new_folder_clears_what_a_killed_writer_left(tmp_path: Path):
    left, other = (tmp_path / f"{outputs.TEMPORARY}{name}-xyz" for name in ("a", "b"))
    for folder in (left, other):
        folder.mkdir()
        (folder / "half").write_text("")
    with outputs.new_folder(tmp_path / "a"):
        pass
    assert not left.exists()
    assert other.exists()  # someone may be writing b at this moment


def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with outputs.new_folder(tmp_path / "a") as folder:
        (folder / "one").write_text("1")
    rename, renames = os.rename, []

    def killed(source: Path, target: Path) -> None:
        renames.append(source)
        if len(renames) == 2:
            raise KeyboardInterrupt  # SIGKILL would leave the temporary folder too
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt), outputs.new_folder(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(RuntimeError), outputs.new_folder(tmp_path / "a"):
        assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["one"]
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a"
    outputs.require_replaceable(folder, ["own.csv"])
    outputs.write_text(folder / "own.csv", "")
    outputs.require_replaceable(folder, ["own.csv"])
    for refused, reason in ((folder, "holds own.csv"), (folder / "own.csv", "not a folder"), (".", "not a folder")):
        with pytest.raises(DarkroomError, match=reason):
            outputs.require_replaceable(refused, ["other.csv"])


def test_files_and_folders_get_the_usual_permissions(tmp_path: Path):
    mask = os.umask(0o022)
    try:
        outputs.write_text(tmp_path / "a.txt", "")
        with outputs.new_folder(tmp_path / "a"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_json_is_strict(tmp_path: Path):
    path = tmp_path / "a.json"
    outputs.write_json(path, {"b": 1, "a": "ü"})
    assert path.read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "ü"\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            outputs.write_json(path, {"a": value})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": 1, "a": "ü"}


@given(
    arrays.arrays(st.sampled_from([np.float32, np.int64, np.dtype([("a", "<i4"), ("b", "<f8")])]), (7, 3)),
    st.integers(1, 8),
)
def test_an_array_in_blocks_has_the_bytes_of_a_saved_one(tmp_path_factory: pytest.TempPathFactory, values, size: int):
    path, saved = tmp_path_factory.mktemp("array") / "a.npy", io.BytesIO()
    outputs.write_array(path, len(values), (values[start : start + size] for start in range(0, 7, size)))
    np.save(saved, values)
    assert path.read_bytes() == saved.getvalue()


def test_an_array_without_rows_can_be_read(tmp_path: Path):
    outputs.write_array(tmp_path / "a.npy", 0, [np.empty((0, 3), np.float32)])
    assert np.load(tmp_path / "a.npy").shape == (0, 3)


def test_nothing_is_written_through_a_map():
    """On a full disk, that ends the process with a signal: no message, and outputs are not restored."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "darkroom").rglob("*.py")]
    assert sources and not any("open_memmap" in source for source in sources)
