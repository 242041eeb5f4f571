from pathlib import Path

import pytest
import yaml

from darkroom.core.errors import DarkroomError
from darkroom.review import lock, revision
from tests import reviewed
from tests.repository import change, commit_all, copy_project, dvc, git


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
        ("params.yaml", "seed: 1\ntrain: {lr: 0.2}", "evaluate ran with another value of train"),
        ("dvc.yaml", "stages: {evaluate: {cmd: none, deps: [new.py, 'data/${x}']}}", "evaluate reads new.py now"),
        ("dvc.yaml", "stages: {evaluate: {cmd: none, params: [seed, model]}}", "evaluate reads model now"),
        ("dvc.yaml", "stages: {evaluate: {cmd: other}}", "evaluate runs another command now"),
        ("dvc.yaml", "stages: {evaluate: {cmd: none}, export: {}}", "export has never run"),
    ],
)
def test_each_change_is_said(project: Path, path: str, text: str, said: str):
    (project / path).write_text(text)
    assert lock.mismatches(revision.WORKSPACE) == [said]


def test_small_numbers_are_read_as_dvc_writes_them(project: Path):
    """Without a dot, which safe_load takes for text; a digest stays one."""
    reviewed.write(project, [True, False], lr=5e-05)
    (project / "dvc.lock").write_text(
        (project / "dvc.lock").read_text().replace("5.0e-05", "5e-05") + "    extra: '1234e567'\n"
    )
    (project / "params.yaml").write_text("seed: 1\ntrain: {lr: 5e-05}")
    assert lock.mismatches(revision.WORKSPACE) == []
    assert lock.stages(revision.WORKSPACE)["evaluate"]["extra"] == "1234e567"


def test_a_tracked_output_that_is_gone_is_said(project: Path):
    (project / "metrics/predictions.csv").unlink()
    assert lock.mismatches(revision.WORKSPACE) == ["evaluate left metrics/predictions.csv, which is missing"]


def test_what_names_parameters_is_left_to_dvc(project: Path):
    (project / "dvc.yaml").write_text(
        "stages: {evaluate: {cmd: 'run ${seed}', deps: ['${data}'], metrics: ['${name}': {cache: false}]}}"
    )
    assert lock.mismatches(revision.WORKSPACE) == []


@pytest.mark.parametrize(
    ("added", "said"),
    [("outs: [{md5: 1.dir, path: data}]", []), ("outs: [{md5: 2.dir, path: data}]", ["evaluate read another data"])],
)
def test_what_dvc_add_tracks_is_compared(project: Path, added: str, said: list[str]):
    locked = yaml.safe_load((project / "dvc.lock").read_text())
    locked["stages"]["evaluate"]["deps"].append({"path": "data", "md5": "1.dir"})
    (project / "dvc.lock").write_text(yaml.safe_dump(locked))
    (project / "data.dvc").write_text(added)
    assert lock.mismatches(revision.WORKSPACE) == said


def locked_folder(project: Path, git_has: bool) -> None:
    """A folder of two files that evaluate read, which git has or not; committed as HEAD."""
    (project / "data/own").mkdir(parents=True)
    for name in "ab":
        (project / f"data/own/{name}.csv").write_text(name)
    (project / ".gitignore").write_text("" if git_has else "/data/own")
    locked = yaml.safe_load((project / "dvc.lock").read_text())
    locked["stages"]["evaluate"]["deps"].append(
        {"path": "data/own", "md5": lock.digest(revision.WORKSPACE, "data/own"), "nfiles": 2}
    )
    (project / "dvc.lock").write_text(yaml.safe_dump(locked))
    commit_all(project)


@pytest.mark.parametrize(("path", "text"), [("data/own/a.csv", "other"), ("data/own/c.csv", "new")])
def test_a_folder_that_git_has_is_compared(project: Path, path: str, text: str):
    locked_folder(project, git_has=True)
    before = revision.find("HEAD")
    assert lock.mismatches(before) == lock.mismatches(revision.WORKSPACE) == []
    (project / path).write_text(text)
    git(project, "add", path)
    assert lock.mismatches(revision.WORKSPACE) == ["evaluate read another data/own"]
    commit_all(project)
    assert lock.mismatches(revision.find("HEAD")) == ["evaluate read another data/own"]
    assert lock.mismatches(before) == []


def test_a_folder_that_git_does_not_have_is_not_read(project: Path, monkeypatch: pytest.MonkeyPatch):
    """Somebody's pictures may be many; whether they are the same, DVC tells."""
    locked_folder(project, git_has=False)
    read, path_of = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.as_posix()) or path_of(path))
    assert lock.mismatches(revision.find("HEAD")) == lock.mismatches(revision.WORKSPACE) == []
    assert "dvc.lock" in read and not any(path.startswith("data/own") for path in read)


def test_what_someone_puts_beside_tracked_files_is_not_read(project: Path):
    """As the raw files of a dataset, which neither git nor DVC looks at."""
    locked_folder(project, git_has=True)
    (project / ".gitignore").write_text("*.gz")
    (project / "data/own/raw.gz").touch()
    assert lock.mismatches(revision.WORKSPACE) == []


def test_a_stage_that_read_what_no_stage_left_is_said(project: Path):
    """As after `dvc repro train`, where evaluate still has the earlier weights; and where the seeds had other data."""
    locked = yaml.safe_load((project / "dvc.lock").read_text())
    locked["stages"]["train"] = {"cmd": "none", "outs": [{"path": "models", "md5": "1.dir"}]}
    locked["stages"]["evaluate"]["deps"].append({"path": "models", "md5": "2.dir"})
    (project / "dvc.lock").write_text(yaml.safe_dump(locked))
    assert lock.mismatches(revision.WORKSPACE) == ["evaluate read another models"]
    reviewed.write_seeds(project, 0.5)
    assert lock.mismatches(revision.WORKSPACE, lock.SEEDS) == []
    locked = yaml.safe_load((project / "seeds/dvc.lock").read_text())
    locked["stages"]["train@1"]["deps"] = [{"path": "models", "md5": "2.dir"}]
    (project / "seeds/dvc.lock").write_text(yaml.safe_dump(locked))
    assert lock.mismatches(revision.WORKSPACE, lock.SEEDS) == ["train@1 read another models"]


@pytest.mark.parametrize("path", ["dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("contents", ["a: [", None])
def test_a_broken_file_beside_it_is_refused(project: Path, path: str, contents: str | None):
    (project / path).unlink()
    if contents:
        (project / path).write_text(contents)
    with pytest.raises(DarkroomError, match=f"{path} of the workspace is missing or no YAML"):
        lock.mismatches(revision.WORKSPACE)


def test_the_digests_are_those_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a pipeline that DVC ran: a file, and a folder with folders in it."""
    copy_project(tmp_path)
    change(tmp_path)
    stage = "mkdir -p metrics/curves/b && echo 1 > metrics/curves/b/1.csv && echo 2 > metrics/curves/a.csv && echo '{}' > metrics/a.json"
    (tmp_path / "dvc.yaml").write_text(
        f"stages:\n  one:\n    cmd: {stage}\n    deps: [darkroom/errors.py]\n    params: [seed, train]\n    outs:\n"
    )
    with (tmp_path / "dvc.yaml").open("a") as file:
        file.write("      - metrics/curves: {cache: false}\n      - metrics/a.json: {cache: false}\n")
    commit_all(tmp_path)
    dvc(tmp_path, "repro")
    commit_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert lock.mismatches(revision.WORKSPACE) == lock.mismatches(revision.find("HEAD")) == []
    (tmp_path / "metrics/curves/b/1.csv").write_text("other")
    assert lock.mismatches(revision.WORKSPACE) == ["one left another metrics/curves"]


@pytest.mark.parametrize(
    ("contents", "said"),
    [(None, "is missing"), (b"a: [", "cannot be read"), (b"{}", "cannot be read"), (b"\xff", "cannot be read")],
)
def test_a_missing_or_broken_lock_is_refused(project: Path, contents: bytes | None, said: str):
    (project / "dvc.lock").unlink()
    if contents is not None:
        (project / "dvc.lock").write_bytes(contents)
    with pytest.raises(DarkroomError, match=said):
        lock.mismatches(revision.WORKSPACE)
