"""What several tests of the review start from."""

from pathlib import Path

import pytest

from tests import reviewed
from tests.reviewed import STRONG, WEAK


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the tags weak and strong, the working directory; the workspace is as strong."""
    monkeypatch.chdir(tmp_path)
    reviewed.write(tmp_path, WEAK)
    reviewed.commit(tmp_path, "weak")
    reviewed.write(tmp_path, STRONG, lr=0.2)
    reviewed.commit(tmp_path, "strong")
    return tmp_path
