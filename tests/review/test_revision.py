from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.review import revision
from tests.repository import commit_all, git


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a repository, with one commit, and changes since."""
    folder = tmp_path / "all" / "né project"
    (folder / "metrics").mkdir(parents=True)
    (folder / "metrics/a.csv").write_bytes(b"a\r\n")
    (folder / "metrics/é b.csv").write_bytes(b"b")
    commit_all(tmp_path / "all")
    (folder / "metrics/a.csv").write_bytes(b"new")
    (folder / "metrics/c.csv").write_bytes(b"c")
    monkeypatch.chdir(folder)
    return folder


def test_a_commit_is_read_as_it_was_and_the_workspace_as_it_is():
    head = revision.find("HEAD")
    assert (
        head.read("metrics/a.csv"),
        head.read("metrics/é b.csv"),
        head.read("metrics/c.csv"),
        head.read("metrics"),
    ) == (b"a\r\n", b"b", None, None)
    assert head.files("metrics") == ["metrics/a.csv", "metrics/é b.csv"]
    assert head.files("nothing") == []
    assert (revision.WORKSPACE.read("metrics/a.csv"), revision.WORKSPACE.read("metrics/x.csv")) == (b"new", None)
    assert revision.WORKSPACE.files("metrics") == ["metrics/a.csv", "metrics/c.csv", "metrics/é b.csv"]


def test_what_differs_is_named():
    first = revision.find("main")
    assert revision.changed(first, revision.WORKSPACE) == ["metrics/a.csv", "metrics/c.csv"]
    commit_all(Path.cwd().parent)
    assert (
        revision.changed(first, revision.WORKSPACE)
        == revision.changed(first, revision.find("HEAD"))
        == ["metrics/a.csv", "metrics/c.csv"]
    )


def test_what_git_ignores_is_no_change_and_a_new_folder_is_one(project: Path):
    (project / ".gitignore").write_text("*.pyc")
    for path in ("darkroom/é new/a.py", "darkroom/é new/b.py", "metrics/d.pyc"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).touch()
    assert revision.changed(revision.find("HEAD"), revision.WORKSPACE) == [
        ".gitignore",
        "darkroom/",
        "metrics/a.csv",
        "metrics/c.csv",
    ]


def test_a_file_that_git_has_no_longer_is_named_once(project: Path):
    git(project, "rm", "--quiet", "--cached", "metrics/a.csv")
    assert revision.changed(revision.find("HEAD"), revision.WORKSPACE) == ["metrics/a.csv", "metrics/c.csv"]


def test_the_tracked_files_of_a_folder():
    assert (
        revision.WORKSPACE.tracked("metrics")
        == revision.find("HEAD").tracked("metrics")
        == ["metrics/a.csv", "metrics/é b.csv"]
    )
    Path("metrics/a.csv").unlink()
    assert revision.WORKSPACE.tracked("metrics") == ["metrics/é b.csv"]
    assert revision.WORKSPACE.tracked("nothing") == []


def test_the_place(project: Path):
    assert revision.place() == (project.parent, "né project/")


@pytest.mark.parametrize("name", ["nobody", "--help", "HEAD:metrics", ""])
def test_an_unknown_name_is_refused(name: str):
    with pytest.raises(DarkroomError, match=f"'{name}'"):
        revision.find(name)


def test_a_shallow_clone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    git(tmp_path, "clone", "--quiet", "--depth", "1", (tmp_path / "all").as_uri(), "clone")
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(DarkroomError, match="git fetch --unshallow"):
        revision.find("v1")


def test_outside_of_a_repository_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(DarkroomError, match="git repository"):
        revision.find("HEAD")


def test_a_repository_of_another_user_names_the_command_that_helps(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # read by git itself
    with pytest.raises(DarkroomError, match=r"safe\.directory '.*né project'"):
        revision.find("HEAD")


def test_a_folder_without_git_names_the_command_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "archive").mkdir()
    monkeypatch.chdir(tmp_path / "archive")
    with pytest.raises(DarkroomError, match=r"archive is not in a git repository.*`git init && git add \."):
        revision.find("HEAD")


def test_what_git_says_is_passed_on(project: Path):
    (project.parent / ".git/config").write_text("[core\n")
    with pytest.raises(DarkroomError, match=r"'HEAD': .*config"):
        revision.find("HEAD")
