"""Check whether dvc.lock belongs to the files of its revision, by digests, without data and without DVC."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from typing import Any

import yaml

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.review import digests
from darkroom.review.revision import WORKSPACE, Revision

FILE, PIPELINE = "dvc.lock", "dvc.yaml"
# May hold a user's files, of which git has none or only some
DATA = ("data/datasets/", "data/pretrained/", "data/teachers/")
COSTS = "metrics/cost/"  # time and memory, which no rerun repeats

Digest = Callable[[str], str | None]


class Kind(StrEnum):
    """What dvc.lock and the files disagree about."""

    NEVER_RUN = "never_run"
    COMMAND_CHANGED = "command_changed"
    NEW_DEPENDENCY = "new_dependency"
    DEPENDENCY_CHANGED = "dependency_changed"
    DEPENDENCY_MISSING = "dependency_missing"
    NEW_OUTPUT = "new_output"
    OUTPUT_CHANGED = "output_changed"
    OUTPUT_MISSING = "output_missing"
    NEW_PARAM = "new_param"
    PARAM_CHANGED = "param_changed"


EDITED = (Kind.OUTPUT_CHANGED, Kind.OUTPUT_MISSING)  # not what the stage wrote: no run explains it

_SENTENCES = {
    Kind.NEVER_RUN: "{stage} never ran",
    Kind.COMMAND_CHANGED: "the command of {stage} changed",
    Kind.NEW_DEPENDENCY: "{stage} did not read {path} yet",
    Kind.DEPENDENCY_CHANGED: "{path} changed after {stage} read it",
    Kind.DEPENDENCY_MISSING: "{path}, which {stage} read, is missing",
    Kind.NEW_OUTPUT: "{stage} did not write {path} yet",
    Kind.OUTPUT_CHANGED: "{path} is not what {stage} wrote",
    Kind.OUTPUT_MISSING: "{path}, which {stage} wrote, is missing",
    Kind.NEW_PARAM: "{stage} did not read the parameter {path} yet",
    Kind.PARAM_CHANGED: "the parameter {path} changed after {stage} read it",
}


@dataclass(frozen=True)
class Finding:
    """One disagreement. `path` is a file, a folder or the key of a parameter; "" if the stage itself is meant."""

    kind: Kind
    stage: str
    path: str = ""

    def __str__(self) -> str:
        return _SENTENCES[self.kind].format(stage=self.stage, path=self.path)


def stages(revision: Revision) -> Mapping[str, Mapping]:
    """What dvc.lock says of each stage. Raises DarkroomError if it is missing or broken."""
    contents = revision.read(FILE)
    if contents is None:
        raise DarkroomError(f"{FILE} is missing in {revision.name}: run `dvc repro` and commit it.")
    try:
        return _parse(contents)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DarkroomError(
            f"{FILE} of {revision.name} is not a lock file of DVC ({reason}): run `dvc repro` and commit it."
        ) from None


@cache  # parsing is slow, and one review asks several times
def _parse(contents: bytes) -> Mapping[str, Mapping]:
    return dict(yaml.load(contents, params.Loader)["stages"])


def repeatable_outputs(stage: Mapping) -> Iterator[Mapping[str, Any]]:
    """The outputs of a stage in dvc.lock that a rerun can repeat bit for bit: all but the costs."""
    return (out for out in stage.get("outs", ()) if not out["path"].startswith(COSTS))


def recipe(revision: Revision) -> str:
    """A short digest of what determined the training but the seed: command, dependencies and parameters of `train`.

    Raises DarkroomError if dvc.lock is missing or broken, or if `train` has never run.
    """
    train = stages(revision).get("train")
    if train is None:
        raise DarkroomError(f"{FILE} of {revision.name} has no stage train: run `dvc repro train` and commit it.")
    deps = {entry["path"]: entry.get("md5") for entry in train.get("deps", ())}
    values = {
        file: {key: value for key, value in keys.items() if key != "seed"}
        for file, keys in train.get("params", {}).items()
    }
    described = json.dumps([train.get("cmd"), deps, values], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def require_current_recipe(revision: Revision) -> str:
    """The same as `recipe`; raises DarkroomError too if `train`, or a stage that it depends on, must be rerun.

    In the workspace the data that `train` reads are compared as well: they may be another revision's.
    """
    found = recipe(revision)
    needed = _upstream(revision, "train")
    stale = [finding for finding in mismatches(revision) if finding.stage in needed]
    if stale:
        raise DarkroomError(f"{FILE} of {revision.name} is not current ({stale[0]}): run `dvc repro train` first.")
    if revision == WORKSPACE:
        for entry in stages(revision)["train"].get("deps", ()):
            if digests.digest(revision, entry["path"]) != entry.get("md5"):
                raise DarkroomError(
                    f"{entry['path']} is not what {FILE} names: run `dvc checkout`, or `dvc repro train`, first."
                )
    return found


def _upstream(revision: Revision, stage: str) -> set[str]:
    """The stage and all stages that it depends on, by dvc.lock."""
    locked = stages(revision)
    makers = {entry["path"]: name for name, made in locked.items() for entry in made.get("outs", ())}
    found, waiting = set(), [stage]
    while waiting:
        name = waiting.pop()
        found.add(name)
        reads = {makers.get(entry["path"]) for entry in locked[name].get("deps", ())}
        waiting += reads - found - {None}
    return found


def grouped(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, with one for all stages that share a kind and a path: `stage` then lists or counts them."""
    stages_of: dict[tuple[Kind, str], list[str]] = {}
    for finding in findings:
        stages_of.setdefault((finding.kind, finding.path), []).append(finding.stage)
    return [
        Finding(kind, " and ".join(names) if len(names) < 3 else f"{len(names)} stages", path)
        for (kind, path), names in stages_of.items()
    ]


def mismatches(revision: Revision) -> list[Finding]:
    """What dvc.lock and the files of a revision disagree about; empty if dvc.lock is current.

    What git does not have is compared by other digests: what stages pass on by those in dvc.lock, what `dvc add` tracks
    by those in its .dvc file. A user's data that neither tracks are skipped.

    Raises DarkroomError if dvc.lock, dvc.yaml or a file of parameters is missing or broken.
    """
    locked, pipeline, values = stages(revision), _values(revision, PIPELINE), _values(revision, str(params.PATH))
    made = {entry["path"]: entry.get("md5") for stage in locked.values() for entry in stage.get("outs", ())}
    digest = cache(partial(digests.digest, revision))  # several stages read the same room
    found: list[Finding] = []
    for name, template in (pipeline.get("stages") or {}).items():
        stage = _resolve(template, values)
        if stage.keys() & {"foreach", "matrix"}:
            continue  # these stages have other names in dvc.lock; only DVC knows which
        if name not in locked:
            found.append(Finding(Kind.NEVER_RUN, name))
            continue
        if not _is_open(stage.get("cmd")) and stage.get("cmd") != locked[name].get("cmd"):
            found.append(Finding(Kind.COMMAND_CHANGED, name))
        found += (Finding(kind, name, path) for kind, path in _deps(revision, stage, locked[name], made, digest))
        found += (Finding(kind, name, path) for kind, path in _outs(stage, locked[name], digest))
        found += (Finding(kind, name, key) for kind, key in _params(revision, stage, locked[name]))
    return found


def _deps(
    revision: Revision, stage: Mapping, locked: Mapping, made: Mapping[str, str], digest: Digest
) -> Iterator[tuple[Kind, str]]:
    known = {entry["path"]: entry for entry in locked.get("deps", ())}
    for path in stage.get("deps", ()):
        if _is_open(path):
            continue
        if path not in known:
            yield Kind.NEW_DEPENDENCY, path
            continue
        entry = known[path]
        now = made.get(path) or _added(revision, path)
        if now is None and _is_comparable(revision, path, entry.get("nfiles")):
            now = digest(path)
            if now is None:
                yield Kind.DEPENDENCY_MISSING, path
        if now is not None and now != entry.get("md5"):
            yield Kind.DEPENDENCY_CHANGED, path


def _outs(stage: Mapping, locked: Mapping, digest: Digest) -> Iterator[tuple[Kind, str]]:
    """Of the outputs that git tracks."""
    known = {entry["path"]: entry.get("md5") for entry in locked.get("outs", ())}
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    for path, settings in (pair for entry in entries if isinstance(entry, Mapping) for pair in entry.items()):
        if settings.get("cache") is not False or _is_open(path):
            continue
        now = digest(path)
        if path not in known:
            yield Kind.NEW_OUTPUT, path
        elif now is None:
            yield Kind.OUTPUT_MISSING, path
        elif now != known[path]:
            yield Kind.OUTPUT_CHANGED, path


def _params(revision: Revision, stage: Mapping, locked: Mapping) -> Iterator[tuple[Kind, str]]:
    known = locked.get("params", {})
    for entry in stage.get("params", ()):
        for file, keys in entry.items() if isinstance(entry, Mapping) else [(str(params.PATH), [entry])]:
            values, ran = _values(revision, file), known.get(file) or {}
            for key in keys or ran:  # a file without keys stands for all of its keys
                if _is_open(key):
                    continue
                if key not in ran:
                    yield Kind.NEW_PARAM, key
                elif _at(values, key) != ran[key]:
                    yield Kind.PARAM_CHANGED, key


def _is_comparable(revision: Revision, path: str, count: int | None) -> bool:
    """Whether git has all that DVC counted at `path` (`count` files if it is a folder), or had it earlier.

    In a user's data set git may have dataset.yaml but not the images, which are too many to read for each review.
    """
    tracked = revision.tracked(path)
    # Of a built-in data set DVC counts only what git has
    private = path.startswith(DATA) and not digests.is_ignored(revision, f"{path}/raw")
    if tracked:
        return not private or len(tracked) >= (count or 0)
    return not private and not revision.exists(path) and revision.had(path)


def _added(revision: Revision, path: str) -> str | None:
    """The digest of what `dvc add` tracks at this path; None if it tracks nothing there."""
    outs = _values(revision, f"{path}.dvc").get("outs") if revision.read(f"{path}.dvc") else None
    return outs[0].get("md5") if outs else None


def _values(revision: Revision, file: str) -> Mapping[str, Any]:
    """The contents of a YAML file of a revision."""
    try:
        return dict(yaml.load(revision.read(file) or b"", params.Loader))  # Loader is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DarkroomError(
            f"{file} of {revision.name} is missing or not YAML ({reason}): correct and commit it."
        ) from None


def _at(values: Any, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _resolve(template: Any, values: Mapping[str, Any]) -> Any:
    """A stage of dvc.yaml with `${key}` replaced by the values of params.yaml; what is not in there stays."""

    def value(match: re.Match) -> str:
        found = _at(values, match[1])
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else match[0]

    if isinstance(template, str):
        return re.sub(r"\$\{\s*([\w.-]+)\s*\}", value, template)
    if isinstance(template, Mapping):
        return {_resolve(key, values): _resolve(item, values) for key, item in template.items()}
    return [_resolve(item, values) for item in template] if isinstance(template, list) else template


def _is_open(text: Any) -> bool:
    """Whether a `${...}` is left, which DVC resolves by rules that are not repeated here."""
    return "${" in str(text)
