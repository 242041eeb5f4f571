"""Whether dvc.lock tells of the files that stand beside it: by the digests, without data and without DVC."""

import hashlib
import json
from collections.abc import Iterator, Mapping

import yaml

from darkroom import params
from darkroom.errors import DarkroomError
from darkroom.revision import Revision

FILE = "dvc.lock"


def stages(revision: Revision) -> Mapping[str, Mapping]:
    """What dvc.lock says of each stage; raises DarkroomError where it is missing or broken."""
    contents = revision.read(FILE)
    if contents is None:
        raise DarkroomError(f"{FILE} is missing in {revision.name}: run `dvc repro` and commit it.")
    try:
        return yaml.safe_load(contents)["stages"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DarkroomError(f"{FILE} of {revision.name} cannot be read ({error}): run `dvc repro` and commit it.") from None


def mismatches(revision: Revision) -> list[str]:
    """Each tracked file and parameter of a revision that dvc.lock knows otherwise, in few words; empty where the lock is current.

    Folders that stages read are left out: what they hold need not be in git.
    """
    return list(_mismatches(revision))


def _mismatches(revision: Revision) -> Iterator[str]:
    pipeline = yaml.safe_load(revision.read("dvc.yaml") or b"{}")
    values = yaml.load(revision.read(str(params.PATH)) or b"{}", params.Loader)  # a SafeLoader
    locked = stages(revision)
    for name, stage in (pipeline.get("stages") or {}).items():
        if name not in locked:
            yield f"{name} has never run"
            continue
        deps = {entry["path"] for entry in locked[name].get("deps", ())}
        yield from (f"{name} reads {dep} now" for dep in stage.get("deps", ()) if "${" not in dep and dep not in deps)
    for name, stage in locked.items():
        for kind, verb in (("deps", "read"), ("outs", "left")):
            for entry in stage.get(kind, ()):
                found = digest(revision, entry["path"], folders=kind == "outs")
                if found and found != entry.get("md5"):
                    yield f"{name} {verb} another {entry['path']}"
        for key, value in stage.get("params", {}).get(str(params.PATH), {}).items():
            if values.get(key) != value:
                yield f"{name} ran with another {key}"


def digest(revision: Revision, path: str, folders: bool = True) -> str | None:
    """The digest of a tracked file, or if `folders` of a tracked folder, as DVC takes it; None where there is neither."""
    contents = revision.read(path)
    if contents is not None:
        return _md5(contents)
    files = revision.files(path) if folders else []
    if not files:
        return None
    entries = [{"md5": _md5(revision.read(file)), "relpath": file.removeprefix(f"{path}/")} for file in files]
    return _md5(json.dumps(sorted(entries, key=lambda entry: entry["relpath"])).encode()) + ".dir"


def _md5(contents: bytes) -> str:
    return hashlib.md5(contents, usedforsecurity=False).hexdigest()
