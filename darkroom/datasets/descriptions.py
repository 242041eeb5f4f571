"""What is known of a dataset before its pictures are there: the schema of data/datasets/<name>/dataset.yaml.

A dataset is published, in files that are pinned, or a folder of someone's own pictures, which may do without a dataset.yaml.
Pins are of two kinds. `sha256` of a file is of its uncompressed contents, so that a mirror may recompress it. Where only
the publisher's sum of an archive is known, that archive must match it, and an unpacked file is held to its exact size and
to its format.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.core.arrays import Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import did_you_mean

FOLDER = Path("data/datasets")
ROLES = {"idx": ("train_images", "train_labels", "test_images", "test_labels"), "cifar_binary": ("train", "test")}
_REMEDY = "put it right (git restores a dataset.yaml that came with the project)"

Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class File(_Strict):
    """A raw file as it lies in data/raw: uncompressed."""

    role: Literal["train_images", "train_labels", "test_images", "test_labels", "train", "test"]
    name: FileName
    bytes: Annotated[int, Field(ge=1, le=2**40)]  # exact size of the contents
    sha256: Sha256 | None = None  # of the contents


class Archive(_Strict):
    """A file as the publisher offers it: <file>.gz, a .zip or a .tar.gz."""

    name: Annotated[FileName, Field(pattern=r"\.(gz|zip)$")]
    md5: Md5 | None = None
    inside: FileName | None = None  # the folder in the archive that holds the files

    @property
    def packed(self) -> bool:
        """Whether it holds several files."""
        return self.name.endswith((".zip", ".tar.gz"))


class Debian(_Strict):
    """A Debian package that carries the files, and the folder in it."""

    package: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]


class Dataset(_Strict):
    """What holds for both kinds; the name is that of the folder."""

    name: Text
    title: Text
    licence: Text
    homepage: Text
    classes: tuple[Text, ...]
    augmentation: Augmentation

    @property
    def folder(self) -> Path:
        """Where its dataset.yaml lies, and where a user may put its files."""
        return FOLDER / self.name

    @model_validator(mode="after")
    def _sound(self) -> "Dataset":
        if repeated := _repeated(self.classes):
            raise ValueError(f"classes names {repeated!r} twice")
        if self.augmentation.shift < 0:
            raise ValueError(f"augmentation.shift = {self.augmentation.shift} must not be negative")
        return self


class ImageFolder(Dataset):
    """A folder of pictures; all that its dataset.yaml may say can also be left out."""

    format: Literal["images"] = "images"
    licence: Text = "unknown"
    homepage: Text = "unknown"
    classes: tuple[Text, ...] = ()  # none: as the folders or the manifest name them
    augmentation: Augmentation = Augmentation(flip=False, shift=0)


class Published(Dataset):
    """Files that are known to the byte."""

    format: Literal["idx", "cifar_binary"]
    transposed: bool = False  # images are stored column by column
    classes: Annotated[tuple[Text, ...], Field(min_length=2)]
    files: tuple[File, ...]
    mirrors: tuple[
        Annotated[str, Field(pattern=r"^https?://\S+/$")], ...
    ] = ()  # tried in this order; an archive's name is appended
    archives: tuple[Archive, ...] = ()
    debian: Debian | None = None

    def archive_of(self, file: File) -> Archive | None:
        """The archive that holds this file alone or with others; None if no archive is known."""
        alone = [archive for archive in self.archives if archive.name == f"{file.name}.gz"]
        packed = [archive for archive in self.archives if archive.packed]
        return next(iter(alone + packed), None)

    @model_validator(mode="after")
    def _complete(self) -> "Published":
        if repeated := _repeated([file.name for file in self.files]):
            raise ValueError(f"files names {repeated!r} twice")
        roles = Counter(file.role for file in self.files)
        if set(roles) != set(ROLES[self.format]) or (self.format == "idx" and max(roles.values()) > 1):
            raise ValueError(
                f"files must fill the roles {', '.join(ROLES[self.format])} of format = {self.format}, but fills {', '.join(roles) or 'none'}"
            )
        for file in self.files:
            archive = self.archive_of(file)
            if file.sha256 is None and (archive is None or archive.md5 is None):
                raise ValueError(f"{file.name} needs a sha256, or an archive with an md5")
        if unpinned := [archive.name for archive in self.archives if archive.packed and archive.md5 is None]:
            raise ValueError(f"{unpinned[0]} needs an md5: it is checked before it is unpacked")
        return self


def require_known(name: str) -> None:
    """Raise DarkroomError if there is no folder data/datasets/<name>."""
    known = sorted(path.name for path in FOLDER.glob("[!.]*") if path.is_dir())
    if name not in known:
        closest = did_you_mean(name, known, cutoff=0.4, listed=False)
        listed = f"it must be one of {', '.join(known)}" if known else f"{FOLDER} is empty"
        raise DarkroomError(
            f"data.dataset = {name!r}: no such folder in {FOLDER}; {listed}{f'; {closest}' if closest else '.'}"
        )


def load(name: str) -> Published | ImageFolder:
    """The dataset in data/datasets/<name>: by its dataset.yaml, or without one a folder of pictures.

    Raises DarkroomError where there is no such folder, or naming what is wrong in the dataset.yaml.
    """
    require_known(name)
    path = FOLDER / name / "dataset.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        values = {}
    except (OSError, yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that is none
        raise DarkroomError(f"{path} cannot be read ({' '.join(str(error).split())}): {_REMEDY}.") from None
    if not isinstance(values, dict):
        raise DarkroomError(f"{path} must hold keys such as title, licence and classes, but it holds {values!r}.")
    return parse(json.dumps({**values, "name": name}, default=str), path)


def parse(text: str, source: str | Path) -> Published | ImageFolder:
    """The dataset that this JSON text describes; raises DarkroomError, naming `source`, the key, its value and what is allowed."""
    values = json.loads(text)
    kind = ImageFolder if values.get("format", "images") == "images" else Published
    try:
        return kind.model_validate_json(
            json.dumps({"title": values.get("name"), **values})
        )  # JSON: strict validation refuses a list for a tuple
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(str(part) for part in mistake["loc"])
        given = "" if isinstance(mistake["input"], dict | list) else f" = {mistake['input']!r}"
        allowed = mistake["msg"].removeprefix("Value error, ")
        raise DarkroomError(f"{source}: {key}{given}{': ' if key else ''}{allowed}; {_REMEDY}.") from None


def _repeated(values: Sequence[str]) -> str | None:
    """The first value that is there twice."""
    return next((value for value, count in Counter(values).items() if count > 1), None)
