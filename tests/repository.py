"""A git repository with the files of the working tree, for tests that run DVC."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = (
    "dvc.yaml",
    "params.yaml",
    "requirements.txt",
    ".gitignore",
    ".dvcignore",
    "stages",
    "darkroom",
    "requirements",
    "data/baselines",
    "data/pretrained",
    "data/teachers/none",
)


def copy_project(folder: Path) -> Path:
    """Copy the files that the pipeline needs to `folder`, without datasets and history; return `folder`."""
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    return folder


def commit_all(folder: Path) -> None:
    """Make `folder` a git repository unless it is one, and commit all files that git does not ignore."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "The project")


def change(folder: Path, **sections: dict) -> None:
    """Update sections of the params.yaml in `folder`."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for section, changes in sections.items():
        values[section].update(changes)
    path.write_text(yaml.safe_dump(values))


def git(folder: Path, *arguments: str) -> str:
    """Run git; return its standard output."""
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dvc(folder: Path, *arguments: str, code: int = 0) -> tuple[list[str], str]:
    """Run DVC, which must exit with `code`; return the names of the stages that it ran, and its whole output."""
    done = run(folder, sys.executable, "-m", "dvc", *arguments)
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")], printed


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command in `folder`, with an author for git and with the programs of this Python environment."""
    author = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **author, "PATH": path}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
