"""Write the winner into params.yaml, and hand its training to DVC's run cache so that it is not repeated."""

import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from darkroom import recipe
from darkroom.core import params
from darkroom.core.outputs import TEMPORARY, write_text
from darkroom.search.trials import ORIGIN

ARRAYS = "data/arrays"


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """The text of a params.yaml with values by dotted key; comments and formatting are kept."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        section = nested
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    with tempfile.TemporaryDirectory() as folder:
        changes, whole = Path(folder, "sample.yaml"), Path(folder, "params.yaml")
        changes.write_text(yaml.safe_dump(nested), encoding="utf-8")
        whole.write_bytes(text.encode())
        return recipe.applied(changes, whole)


def write(text: str, dry_run: bool) -> None:
    """Show how `text` differs from params.yaml, and write it unless `dry_run`."""
    before = params.PATH.read_bytes().decode()
    if before == text:
        print(f"{params.PATH} already holds these values: nothing changed.")
        return
    files = (f"a/{params.PATH}", f"b/{params.PATH}")
    print("\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), *files, lineterm="")))
    if not dry_run:
        write_text(params.PATH, text)


def origin(data_sha256: str) -> str:
    """A digest of all that determines a training besides params.yaml: code, pinned libraries, data, weights."""
    digest = hashlib.sha256(data_sha256.encode())
    for dep in _deps(params.read(params.PATH)):
        for path in sorted(_files(dep)) if dep != Path(ARRAYS) else ():
            digest.update(f"{path.as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def cache(kept: Path, text: str, data_sha256: str) -> str:
    """Hand the training in `kept` to DVC's run cache, for the params.yaml `text`; return a line for people.

    DVC itself records it, by `dvc commit` in a temporary copy of the files that the stage depends on.
    """
    if not kept.is_dir():
        return "The winner's weights are not here: `dvc repro` trains it."
    if json.loads((kept / ORIGIN).read_text(encoding="utf-8"))["origin"] != origin(data_sha256):
        return "Code, data or libraries changed since the winner was trained: `dvc repro` trains it again."
    try:
        _commit(kept, text)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.splitlines() or ["no reason given"])[-1]
        return f"DVC did not take the winner's training ({reason}): `dvc repro` trains it again."
    return "DVC's run cache holds the winner's training: `dvc repro` takes it from there."


def _commit(kept: Path, text: str) -> None:
    cache_folder = Path(_dvc(Path.cwd(), "cache", "dir").strip()).absolute()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=kept.parent) as name:
        folder = Path(name)
        (folder / ".dvc").mkdir()
        quote = "'" if '"' in str(cache_folder) else '"'  # else # would begin a comment
        cache = f"dir = {quote}{cache_folder}{quote}"
        settings = f"[core]\n    no_scm = true\n    analytics = false\n[cache]\n    {cache}\n"
        (folder / ".dvc/config").write_text(settings, encoding="utf-8")
        (folder / params.PATH).write_bytes(text.encode())
        for path in map(Path, ("dvc.yaml", "dvc.lock", ".dvcignore")):
            if path.is_file():
                shutil.copyfile(path, folder / path)
        for dep in _deps(yaml.load(text, params.Loader)):
            if dep.is_dir():
                (folder / dep).mkdir(parents=True, exist_ok=True)  # it may be empty
            for file in _files(dep):
                _link(file, folder / file)
        for file in _files(kept):
            if file.name != ORIGIN:
                target = folder / file.relative_to(kept)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)  # DVC may link these to its cache
        _dvc(folder, "commit", "--force", "train")


def _deps(values: Mapping[str, Any]) -> list[Path]:
    """What the stage train depends on, with the values of a params.yaml for `${key}`."""
    leaves = params.flat(values)
    templates = params.read(Path("dvc.yaml"))["stages"]["train"]["deps"]
    return [Path(re.sub(r"\$\{\s*([\w.-]+)\s*\}", lambda key: str(leaves[key[1]]), dep)) for dep in templates]


def _files(path: Path) -> Iterator[Path]:
    """The file of this path, or those of the folder, without compiled Python and files that are being written."""
    if path.is_file():
        yield path
    for file in path.rglob("*") if path.is_dir() else ():
        unwanted = "__pycache__" in file.parts or any(part.startswith(TEMPORARY) for part in file.parts)
        if file.is_file() and not unwanted:
            yield file


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy on another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _dvc(folder: Path, *command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
