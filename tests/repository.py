"""A repository of the project as it stands in the working tree, for tests that run DVC."""

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
    "seeds",
    "data/baselines",
)


def copy_project(folder: Path) -> Path:
    """Copies what the pipeline needs to `folder`, without data and history."""
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    return folder


def commit_all(folder: Path) -> None:
    """Makes `folder` a git repository where it is none, and commits all that git does not ignore."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "The project")


def change(folder: Path, **sections: dict) -> None:
    """Updates sections of the repository's params.yaml."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for section, changes in sections.items():
        values[section].update(changes)
    path.write_text(yaml.safe_dump(values))


def git(folder: Path, *arguments: str) -> str:
    """Runs git; returns what it printed."""
    done = _call(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dvc(folder: Path, *arguments: str, code: int = 0) -> tuple[list[str], str]:
    """Runs DVC; returns the stages that it ran and all that it printed."""
    done = _call(folder, sys.executable, "-m", "dvc", *arguments)
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")], printed


def _call(folder: Path, *command: str) -> subprocess.CompletedProcess:
    person = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **person, "PATH": path}, check=False
    )
