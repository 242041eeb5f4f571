"""Whether a dvc.lock tells of the files that stand beside it: by the digests, without data and without DVC."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import yaml

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.review.revision import Revision

FILE, SEEDS = "dvc.lock", "seeds/dvc.lock"


def stages(revision: Revision, file: str = FILE) -> Mapping[str, Mapping]:
    """What a dvc.lock says of each stage; raises DarkroomError where it is missing or broken."""
    contents = revision.read(file)
    if contents is None:
        raise DarkroomError(f"{file} is missing in {revision.name}: run {_remedy(file)} and commit it.")
    try:
        return _parse(contents)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DarkroomError(
            f"{file} of {revision.name} cannot be read ({' '.join(str(error).split())}): run {_remedy(file)} and commit it."
        ) from None


@cache  # a review asks for the same few several times, and reading YAML takes long
def _parse(contents: bytes) -> Mapping[str, Mapping]:
    """The stages of a dvc.lock. Parameters such as `5e-05` are numbers, as DVC means them; a digest that looks like one stands in quotes."""
    return dict(yaml.load(contents, params.Loader)["stages"])


def mismatches(revision: Revision, file: str = FILE) -> list[str]:
    """Each tracked file and parameter of a revision that this dvc.lock knows otherwise, in few words; empty where the lock is current.

    Folders that stages read are left out where no stage left them, `dvc add` does not track them, and not all of them is in git.
    Raises DarkroomError where a lock, its dvc.yaml or a file of parameters is missing or broken.
    """
    return list(_mismatches(revision, file))


def _mismatches(revision: Revision, file: str) -> Iterator[str]:
    locked = stages(revision, file)
    made = {
        entry["path"]: entry.get("md5")
        for source in {FILE, file}
        for stage in stages(revision, source).values()
        for entry in stage.get("outs", ())
    }
    read, left, values = (cache(partial(function, revision)) for function in (_read_digest, digest, _values))
    for name, stage in _declared(revision, file.replace(".lock", ".yaml")):
        ran = locked.get(name)
        if ran is None:
            yield f"{name} has never run"
            continue
        if stage.get("cmd") != ran.get("cmd") and "${" not in str(stage.get("cmd")):
            yield f"{name} runs another command now"
        deps = {entry["path"]: entry for entry in ran.get("deps", ())}
        yield from (f"{name} reads {dep} now" for dep in stage.get("deps", ()) if "${" not in dep and dep not in deps)
        for dep, entry in deps.items():
            known = entry.get("md5")
            if (made.get(dep) or _added(revision, dep) or read(dep, entry.get("nfiles")) or known) != known:
                yield f"{name} read another {dep}"
        outs = {entry["path"]: entry.get("md5") for entry in ran.get("outs", ())}
        for path, now in {path: left(path) for path in _tracked(stage)}.items():
            if now is None:
                yield f"{name} left {path}, which is missing"
            elif now != outs.get(path):
                yield f"{name} left another {path}"
        used = {source: keys for source, keys in ran.get("params", {}).items() if isinstance(keys, Mapping)}
        yield from (
            f"{name} ran with another value of {key}"
            for source, keys in used.items()
            for key, value in keys.items()
            if _at(values(source), key) != value
        )
        yield from (
            f"{name} reads {key} now"
            for key in stage.get("params", ())
            if isinstance(key, str) and key not in used.get(str(params.PATH), {})
        )


def _declared(revision: Revision, file: str) -> Iterator[tuple[str, Mapping]]:
    """Each stage of a dvc.yaml; one with a foreach over a list of a file of its vars, as seeds/dvc.yaml has it, once for each item."""
    pipeline = _values(revision, file)
    folder = file.rpartition("/")[0]
    listed = [
        _values(revision, f"{folder}/{name}" if folder else name)
        for name in pipeline.get("vars", ())
        if isinstance(name, str)
    ]
    for name, stage in (pipeline.get("stages") or {}).items():
        if "foreach" not in stage:
            yield name, stage
            continue
        key = str(stage["foreach"]).removeprefix("${").removesuffix("}")
        for item in next((found for values in listed if (found := _at(values, key))), ()):
            yield f"{name}@{item}", json.loads(json.dumps(stage["do"]).replace("${item}", str(item)))


def _added(revision: Revision, path: str) -> str | None:
    """The digest of what `dvc add` tracks at this path; None where it tracks nothing there."""
    outs = _values(revision, f"{path}.dvc").get("outs") if revision.read(f"{path}.dvc") else None
    return outs[0].get("md5") if outs else None


def _tracked(stage: Mapping) -> list[str]:
    """The outputs of a declared stage that git keeps."""
    entries = [
        entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ()) if isinstance(entry, Mapping)
    ]
    return [
        path
        for entry in entries
        for path, settings in entry.items()
        if settings.get("cache") is False and "${" not in path
    ]


def _values(revision: Revision, file: str) -> Mapping[str, Any]:
    """What a YAML file of a revision holds."""
    try:
        return dict(yaml.load(revision.read(file) or b"", params.Loader))  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise DarkroomError(
            f"{file} of {revision.name} is missing or no YAML ({' '.join(str(error).split())}): put it right and commit it."
        ) from None


def _at(values: Any, key: str) -> Any:
    """The value by a dotted name; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _remedy(file: str) -> str:
    return "`dvc repro`" if file == FILE else f"`dvc repro {file.replace('.lock', '.yaml')}`"


def digest(revision: Revision, path: str, files: Sequence[str] | None = None) -> str | None:
    """The digest of a file, or of a folder that holds `files` (None: what lies there), as DVC takes it; None where there is neither."""
    contents = revision.read(path)
    if contents is not None:
        return _md5(contents)
    files = revision.files(path) if files is None else files
    if not files:
        return None
    entries = [{"md5": _md5(revision.read(file)), "relpath": file.removeprefix(f"{path}/")} for file in files]
    return _md5(json.dumps(sorted(entries, key=lambda entry: entry["relpath"])).encode()) + ".dir"


def _read_digest(revision: Revision, path: str, count: int | None) -> str | None:
    """The digest of what a stage reads: a file, or a folder that held `count` files; None where git has not all of these.

    Of a folder only what git has is looked at: to read someone's many pictures for each review would take long, and is DVC's business.
    So a file that is deleted from a folder is not noticed here: whether git ever had it cannot be told.
    """
    files = [] if count is None else revision.tracked(path)
    return digest(revision, path, files if len(files) >= (count or 0) else [])


def _md5(contents: bytes) -> str:
    return hashlib.md5(contents, usedforsecurity=False).hexdigest()
