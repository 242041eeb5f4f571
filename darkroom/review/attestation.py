"""What a reproduction of a commit found, recorded in metrics/attestation.json by `python -m darkroom.verify`.

An attestation is about a dvc.lock, not a commit, since committing it makes another commit. It holds wherever dvc.lock
has exactly the bytes that were verified. It is a record for people who trust its author; it cannot prevent forgery.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.review import lock
from darkroom.review.lock import Finding
from darkroom.review.revision import Revision

FILE = "metrics/attestation.json"
MAX_BYTES = 2**20

Text = Annotated[str, Field(min_length=1, max_length=200)]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Machine(_Strict):
    """The hardware that computed."""

    processor: Text  # with the number of cores that the run could use
    features: tuple[Text, ...]  # instruction sets that determine how sums are rounded
    device: Text  # of the training: a GPU's name, or the number of CPU threads
    precision: Text
    system: Text


class Change(_Strict):
    """A number or boolean as committed and as found; None if it is missing."""

    committed: bool | float | None
    found: bool | float | None


class Output(_Strict):
    """An output of a stage, by DVC's digests; `found` is None if the stage did not write it."""

    stage: Text
    path: Text
    locked: Md5
    found: Md5 | None
    same: bool
    numbers: dict[str, Change] = {}  # of a tracked JSON file: the values that differ, by dotted key
    predictions: Annotated[int, Field(ge=0)] = 0  # of metrics/predictions.csv: how many differ

    @model_validator(mode="after")
    def _agrees(self) -> "Output":
        if self.same != (self.locked == self.found):
            raise ValueError(f"`same` of {self.path} contradicts its digests")
        if self.same and (self.numbers or self.predictions):
            raise ValueError(f"{self.path} is marked as the same, but has differences")
        return self


class Attestation(_Strict):
    """All that is known about one reproduction."""

    commit: Commit
    lock_sha256: Sha256
    same: bool  # whether every output is identical bit for bit
    started: Text  # ISO 8601, UTC
    seconds: Annotated[float, Field(gt=0)]
    machine: Machine
    versions: dict[Text, Text | None]  # Python and the packages that the requirements pin, as installed
    data: dict[Text, Annotated[int, Field(ge=1)]]  # number of files taken from the working tree, by path
    params: dict[str, Any]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> "Attestation":
        if self.same != all(output.same for output in self.outputs):
            raise ValueError("`same` contradicts the outputs")
        return self

    @property
    def differing(self) -> list[Output]:
        """The outputs that are not the same."""
        return [output for output in self.outputs if not output.same]

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the defaults."""
        return json.loads(self.model_dump_json(exclude_defaults=True))


class State(StrEnum):
    """What an attestation is worth for a revision."""

    NONE = "none"  # there is no attestation
    REPRODUCED = "reproduced"
    DIFFERENT = "different"
    OTHER_LOCK = "other_lock"  # it is about another dvc.lock
    STALE_LOCK = "stale_lock"  # it is about this dvc.lock, which does not belong to the revision's files
    INVALID = "invalid"  # it contradicts itself or its dvc.lock


@dataclass(frozen=True)
class Standing:
    """A state, with the attestation if it could be read, and the reason if it is invalid or the lock is stale."""

    state: State
    attested: Attestation | None = None
    reason: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether there is an attestation that does not hold."""
        return self.state in (State.OTHER_LOCK, State.STALE_LOCK, State.INVALID)

    def __str__(self) -> str:
        """A sentence without its subject, the revision, and without its full stop."""
        if self.state == State.NONE:
            return "is not attested"
        if self.state == State.INVALID:
            return f"is not attested: the attestation was edited or damaged ({self.reason})"
        if self.state == State.OTHER_LOCK:
            return f"is not attested: the attestation is about another dvc.lock, that of {self.attested.commit[:12]}"
        if self.state == State.STALE_LOCK:
            return f"is not attested: its dvc.lock is not current ({self.reason})"
        machine = self.attested.machine
        where = f"on {machine.processor} ({machine.device}, {machine.precision}), at {self.attested.commit[:12]}"
        if self.state == State.REPRODUCED:
            return f"is reproduced bit for bit, all {len(self.attested.outputs)} outputs, {where}"
        differing = self.attested.differing
        differ = "differs" if len(differing) == 1 else "differ"
        of = counted(len(self.attested.outputs), "output")
        count = f"{len(differing)} of {of} {differ}, the first is {differing[0].path}"
        return f"is not reproduced bit for bit {where}: {count}{_effect(differing)}"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for programs."""
        differing = [output.path for output in self.attested.differing] if self.attested else []
        commit = self.attested.commit if self.attested else None
        return {"state": self.state, "commit": commit, "differing": differing, "reason": self.reason}


def standing(contents: bytes | None, revision: Revision, stale: Sequence[Finding]) -> Standing:
    """What the attestation in `contents`, of a file, is worth for a revision; `stale` is its `lock.mismatches`.

    Raises DarkroomError if its dvc.lock is missing or broken.
    """
    if contents is None:
        return Standing(State.NONE)
    try:
        attested = _parse(contents)
        if attested.lock_sha256 != lock_digest(revision):
            return Standing(State.OTHER_LOCK, attested)
        _require_consistent(attested, revision)
    except ValueError as error:
        return Standing(State.INVALID, reason=str(error))
    if stale:
        return Standing(State.STALE_LOCK, attested, str(stale[0]))
    return Standing(State.REPRODUCED if attested.same else State.DIFFERENT, attested)


def _parse(contents: bytes) -> Attestation:
    """Raises ValueError, in a few words, if it is not an attestation or contradicts itself."""
    if len(contents) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES:,} bytes")
    try:
        return Attestation.model_validate_json(contents)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{key}: {message}" if key else message) from None


def _require_consistent(attested: Attestation, revision: Revision) -> None:
    """Raises ValueError if the attestation and the dvc.lock that it is about contradict each other."""
    stages = lock.stages(revision)
    known = {
        (name, out["path"]): out.get("md5") for name, stage in stages.items() for out in lock.repeatable_outputs(stage)
    }
    attested_outputs = {(output.stage, output.path): output.locked for output in attested.outputs}
    if len(attested_outputs) < len(attested.outputs) or attested_outputs != known:
        raise ValueError("its outputs are not those of dvc.lock")
    if attested.params != used_params(stages):
        raise ValueError("its parameters are not those of dvc.lock")
    contents = Revision(attested.commit, attested.commit).read(lock.FILE)
    if contents is not None and _sha256(contents) != attested.lock_sha256:
        raise ValueError(f"its commit {attested.commit[:12]} has another dvc.lock")


def used_params(stages: Mapping[str, Mapping]) -> dict[str, Any]:
    """The parameters that the stages of a dvc.lock ran with, by key as dvc.yaml names them."""
    return {
        key: value
        for stage in stages.values()
        for key, value in stage.get("params", {}).get(str(params.PATH), {}).items()
    }


def lock_digest(revision: Revision) -> str:
    """The SHA-256 of a revision's dvc.lock. Raises DarkroomError if it is missing."""
    contents = revision.read(lock.FILE)
    if contents is None:
        raise DarkroomError(f"{lock.FILE} is missing in {revision.name}: run `dvc repro` and commit it.")
    return _sha256(contents)


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _effect(differing: Sequence[Output]) -> str:
    """How large the differences are: the accuracy and the predictions, if they differ."""
    accuracies = (output.numbers["accuracy"] for output in differing if "accuracy" in output.numbers)
    parts = [f"accuracy {change.committed} → {change.found}" for change in accuracies]
    parts += [f"{output.predictions} predictions differ" for output in differing if output.predictions]
    return f"; {', '.join(parts)}" if parts else ""
