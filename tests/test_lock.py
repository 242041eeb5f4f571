from pathlib import Path

import pytest

from darkroom import lock, revision
from darkroom.errors import DarkroomError
from tests import reviewed
from tests.repository import change, commit_all, copy_project, dvc


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    reviewed.write(tmp_path, [True, False])
    return tmp_path


def test_a_current_lock_has_no_mismatch(project: Path):
    assert lock.mismatches(revision.WORKSPACE) == []


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("metrics/evaluate.json", "{}", "evaluate left another metrics/evaluate.json"),
        ("darkroom/net.py", "# other", "evaluate read another darkroom/net.py"),
        ("params.yaml", "seed: 1\ntrain: {lr: 0.2}", "evaluate ran with another train"),
        ("dvc.yaml", "stages: {evaluate: {deps: [new.py, 'data/${x}']}, export: {}}", "evaluate reads new.py now"),
        ("dvc.yaml", "stages: {evaluate: {}, export: {}}", "export has never run"),
    ],
)
def test_each_change_is_said(project: Path, path: str, text: str, said: str):
    (project / path).write_text(text)
    assert said in lock.mismatches(revision.WORKSPACE)


def test_the_digests_are_those_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a pipeline that DVC ran: a file, and a folder with folders in it."""
    copy_project(tmp_path)
    change(tmp_path)
    stage = "mkdir -p metrics/curves/b && echo 1 > metrics/curves/b/1.csv && echo 2 > metrics/curves/a.csv && echo '{}' > metrics/a.json"
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  one:\n    cmd: {stage}\n    deps: [darkroom/errors.py]\n    params: [seed, train]\n    outs:\n")
    with (tmp_path / "dvc.yaml").open("a") as file:
        file.write("      - metrics/curves: {cache: false}\n      - metrics/a.json: {cache: false}\n")
    commit_all(tmp_path)
    dvc(tmp_path, "repro")
    commit_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert lock.mismatches(revision.WORKSPACE) == lock.mismatches(revision.find("HEAD")) == []
    (tmp_path / "metrics/curves/b/1.csv").write_text("other")
    assert lock.mismatches(revision.WORKSPACE) == ["one left another metrics/curves"]


@pytest.mark.parametrize(("contents", "said"), [(None, "is missing"), (b"a: [", "cannot be read"), (b"{}", "cannot be read"), (b"\xff", "cannot be read")])
def test_a_missing_or_broken_lock_is_refused(project: Path, contents: bytes | None, said: str):
    (project / "dvc.lock").unlink()
    if contents is not None:
        (project / "dvc.lock").write_bytes(contents)
    with pytest.raises(DarkroomError, match=said):
        lock.mismatches(revision.WORKSPACE)
