"""What a reproduction of a commit found, written down in metrics/attestation.json (`python -m darkroom.verify` makes it).

An attestation is of a dvc.lock and not of a commit, since committing it makes another commit: it holds wherever dvc.lock has
the very bytes that were verified. It is a record for those who trust who wrote it, and no proof against a forger.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.review import lock
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
    """What computed."""

    processor: Text  # with the number of cores that it might use
    features: tuple[Text, ...]  # of the processor: those that decide how sums are rounded
    device: Text  # of the training: a GPU's name, or the number of CPU threads
    precision: Text
    system: Text


class Change(_Strict):
    """A number, or whether something is true, as committed and as found; None where it is missing."""

    committed: bool | float | None
    found: bool | float | None


class Output(_Strict):
    """An output of a stage, by the digests that DVC takes; `found` is None where the stage did not leave it."""

    stage: Text
    path: Text
    locked: Md5
    found: Md5 | None
    same: bool
    numbers: dict[str, Change] = {}  # of a tracked JSON of numbers, by dotted name: those that differ
    answers: Annotated[int, Field(ge=0)] = 0  # of the predictions: how many pictures are answered differently

    @model_validator(mode="after")
    def _agrees(self) -> "Output":
        if self.same != (self.locked == self.found):
            raise ValueError(
                f"{self.path} is said to be {'the same' if self.same else 'different'}, but its digests say otherwise"
            )
        if self.same and (self.numbers or self.answers):
            raise ValueError(f"{self.path} is said to be the same, but numbers of it to differ")
        return self


class Attestation(_Strict):
    """All that is known of one reproduction."""

    commit: Commit
    lock_sha256: Sha256
    same: bool  # every output, to the bit
    started: Text  # ISO 8601, UTC
    seconds: Annotated[float, Field(gt=0)]
    machine: Machine
    versions: dict[Text, Text | None]  # Python, and the packages that requirements.txt pins, as installed
    data: dict[
        Text, Annotated[int, Field(ge=1)]
    ]  # files that git does not have and that came from the working tree, by where they lie
    params: dict[str, Any]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> "Attestation":
        if self.same != all(output.same for output in self.outputs):
            raise ValueError(
                f"it says that {'all outputs are the same' if self.same else 'outputs differ'}, but its outputs say otherwise"
            )
        return self

    @property
    def differing(self) -> list[Output]:
        """The outputs that came out otherwise."""
        return [output for output in self.outputs if not output.same]


@dataclass(frozen=True)
class Standing:
    """What an attestation is worth for a revision, and a sentence on that: without its subject, the revision, and its full stop."""

    state: Literal["none", "reproduced", "different", "outdated", "invalid"]
    sentence: str


def standing(contents: bytes | None, revision: Revision, mismatches: Sequence[str]) -> Standing:
    """What the attestation in `contents`, of a file, says of a revision whose dvc.lock has these mismatches (lock.mismatches).

    Raises DarkroomError where its dvc.lock is missing or broken.
    """
    if contents is None:
        return Standing("none", "is not attested")
    try:
        attested = _parse(contents)
        if attested.lock_sha256 != lock_digest(revision):
            return Standing(
                "outdated",
                f"is not attested: the attestation is of another dvc.lock, that of commit {attested.commit[:12]}",
            )
        _hold_to(attested, revision)
        if mismatches:
            return Standing(
                "outdated",
                f"is not attested: the attestation is of dvc.lock, which is not of its files ({mismatches[0]})",
            )
    except ValueError as error:
        return Standing("invalid", f"is not attested: the attestation was edited or damaged ({error})")
    if attested.same:
        return Standing(
            "reproduced", f"is reproduced to the bit, all {len(attested.outputs)} outputs, {_where(attested)}"
        )
    first = attested.differing[0]
    count = f"{len(attested.differing)} of {len(attested.outputs)} outputs"
    return Standing(
        "different",
        f"is not reproduced to the bit {_where(attested)}: {count} differ, the first {first.path}{_most(attested)}",
    )


def _parse(contents: bytes) -> Attestation:
    """Raises ValueError, in few words, where it is no attestation or contradicts itself."""
    if len(contents) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES:,} bytes")
    try:
        return Attestation.model_validate_json(contents)
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(str(part) for part in mistake["loc"])
        said = mistake["msg"].removeprefix("Value error, ")
        raise ValueError(f"{key}: {said}" if key else said) from None


def _hold_to(attested: Attestation, revision: Revision) -> None:
    """Raises ValueError where the attestation and the dvc.lock that it is of contradict each other."""
    stages = lock.stages(revision)
    known = {(name, out["path"]): out.get("md5") for name, stage in stages.items() for out in stage.get("outs", ())}
    told = {(output.stage, output.path): output.locked for output in attested.outputs}
    if len(told) < len(attested.outputs) or told != known:
        raise ValueError("its outputs are not those of dvc.lock")
    if attested.params != used_params(stages):
        raise ValueError("its parameters are not those of dvc.lock")
    contents = Revision(attested.commit, attested.commit).read(lock.FILE)
    if contents is not None and _sha256(contents) != attested.lock_sha256:
        raise ValueError(f"the commit {attested.commit[:12]} that it names has another dvc.lock")


def used_params(stages: Mapping[str, Mapping]) -> dict[str, Any]:
    """The parameters that the stages of a dvc.lock ran with."""
    return {
        key: value
        for stage in stages.values()
        for key, value in stage.get("params", {}).get(str(params.PATH), {}).items()
    }


def lock_digest(revision: Revision) -> str:
    """The SHA-256 of a revision's dvc.lock; raises DarkroomError where it has none."""
    contents = revision.read(lock.FILE)
    if contents is None:
        raise DarkroomError(f"{lock.FILE} is missing in {revision.name}: run `dvc repro` and commit it.")
    return _sha256(contents)


def as_json(attested: Attestation) -> dict[str, Any]:
    """The attestation as plain values, without what is as a matter of course."""
    return json.loads(attested.model_dump_json(exclude_defaults=True))


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _where(attested: Attestation) -> str:
    return f"on {attested.machine.processor} ({attested.machine.device}, {attested.machine.precision}), at {attested.commit[:12]}"


def _most(attested: Attestation) -> str:
    """What the differences come to: the accuracy and the predictions, where they differ."""
    said = [
        f"{name} {change.committed} → {change.found}"
        for output in attested.differing
        for name, change in output.numbers.items()
        if name == "accuracy"
    ]
    said += [f"other answers: {output.answers}" for output in attested.differing if output.answers]
    return f"; {', '.join(said)}" if said else ""
