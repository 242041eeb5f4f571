"""A project with toy data and fake trainings as the current folder."""

from pathlib import Path

import pytest

from tests.search import toy


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with toy data and fake trainings as the current folder."""
    monkeypatch.chdir(tmp_path)
    toy.prepare(monkeypatch)
