"""Kinds of examples that the audit does not show."""

import sys
from pathlib import Path

import pytest

from darkroom.audit import __main__ as audit
from tests.histories import write


def test_histories_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "data/arrays")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["audit"])
    with pytest.raises(SystemExit) as ended:
        audit.main()
    assert "histories" in ended.value.code and "\n" not in ended.value.code
    assert not Path("data/audit.html").exists()
