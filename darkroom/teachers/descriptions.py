"""The schema of data/teachers/<name>/teacher.json, and its reader."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted, did_you_mean

FOLDER = Path("data/teachers")
FILE = "teacher.json"
NONE = "none"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"

Name = Annotated[str, Field(pattern=NAME)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Pretrained(_Strict):
    """Weights that a network was fine-tuned from."""

    title: str
    licence: str
    sha256: Sha256  # of their file


class Network(_Strict):
    """One trained network of a teacher, and how its inputs are prepared."""

    file: Name  # of its weights, safetensors
    bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256
    family: str  # a value of model.name
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]  # of one input, channels last: an image's is (height, width, channels)
    mean: tuple[float, ...]  # per channel, on the scale 0..1
    std: tuple[float, ...]
    parameters: int
    test_sha256: Sha256  # of the inputs, labels and ids of the test split
    pretrained: Pretrained | None  # None: it was trained from random weights
    commit: str  # of git, whose dvc.lock describes the training; "" if there was none

    def __str__(self) -> str:
        return f"{self.family} {self.arguments.get('architecture', '')}".strip()


class Teacher(_Strict):
    """One or several trained networks whose answers a student learns from; the name is that of the folder."""

    name: Name
    dataset: str
    title: str  # of the dataset
    licence: str
    classes: tuple[str, ...]
    test_examples_sha256: Sha256  # of the labels and ids of the test split
    accuracy: Fraction  # of the networks together, on the test split
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]

    @property
    def folder(self) -> Path:
        """The folder of its teacher.json and its weights."""
        return FOLDER / self.name

    @property
    def parameters(self) -> int:
        """Of all networks."""
        return sum(network.parameters for network in self.networks)

    def __str__(self) -> str:
        """Its networks, for people: `2 networks (resnet)`."""
        families = ", ".join(dict.fromkeys(map(str, self.networks)))
        return families if len(self.networks) == 1 else f"{counted(len(self.networks), 'network')} ({families})"

    def require_same_task(self, manifest: Manifest) -> None:
        """Raise DarkroomError if a student of the data that `manifest` describes has other classes or test examples.

        Of images of the same size the pixels are compared too.
        """
        start, remedy = f"The teacher {self.name!r} ({self.folder})", "choose a teacher of this data, or none"
        if self.classes != manifest.classes:
            difference = _difference(self.classes, manifest.classes)
            raise DarkroomError(f"{start} has other classes than data/arrays ({difference}): {remedy}.")
        same_size = [network for network in self.networks if network.shape == manifest.shape]
        same = self.test_examples_sha256 == manifest.test_examples_sha256
        if not same or any(network.test_sha256 != manifest.test_sha256 for network in same_size):
            what = "the same examples, prepared differently" if same else "other ids or labels"
            raise DarkroomError(
                f"{start} was kept with another test split than that of data/arrays ({what}), so it may have learned "
                f"from test examples: {remedy}; or train it again with this data, seed and preprocess, and keep it."
            )


def known() -> list[str]:
    """The names of all teachers."""
    return sorted(path.parent.name for path in FOLDER.glob(f"[!.]*/{FILE}") if path.parent.name != NONE)


def require_known(name: str) -> None:
    """Raise DarkroomError unless there is a data/teachers/<name>/teacher.json."""
    if name != NONE and name not in known():
        hint = did_you_mean(name, known(), cutoff=0.4, listed=False)
        if Path(FOLDER, f"{name}.dvc").exists():
            hint = f"run `dvc checkout {FOLDER / name}.dvc`, or `dvc pull`, to get this one."
        allowed = f"must be none or a folder in {FOLDER}, which has {', '.join(known()) or 'none yet'}"
        keep = "`python -m darkroom.teacher keep NAME` keeps models/trained as one"
        raise DarkroomError(f"train.distill.teacher = {name!r}: {allowed}; {hint or f'{keep}.'}")


def load(name: str) -> Teacher:
    """Read data/teachers/<name>/teacher.json; raise DarkroomError if it is missing or invalid."""
    require_known(name)
    path = FOLDER / name / FILE
    try:
        return validate(name, dict(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DarkroomError(
            f"{path} cannot be read ({reason}): restore it (`dvc checkout`), or keep it again."
        ) from None


def validate(name: str, values: Mapping[str, Any]) -> Teacher:
    """Validate the contents of a teacher.json; raise DarkroomError that names the key and what is allowed."""
    try:
        # Validated as JSON: strict validation of Python values refuses a list for a tuple.
        return Teacher.model_validate_json(json.dumps({**values, "name": name}))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DarkroomError(f"{FOLDER / name / FILE}: {key}: {first['msg']}: restore it, or keep it again.") from None


def _difference(teacher: tuple[str, ...], student: tuple[str, ...]) -> str:
    if len(teacher) != len(student):
        return f"{len(teacher)} instead of {len(student)}"
    number = next(index for index, pair in enumerate(zip(teacher, student, strict=True)) if len(set(pair)) > 1)
    return f"number {number} is {teacher[number]!r} instead of {student[number]!r}"
