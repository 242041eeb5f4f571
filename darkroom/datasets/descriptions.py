"""The schema of data/datasets/<name>/dataset.yaml, and its reader.

A dataset is either published, as files with known checksums, or a folder of images or texts, whose dataset.yaml is
optional.
The `sha256` of a file is that of its uncompressed contents, so a mirror may recompress it. If only the publisher's MD5
of an archive is known, the archive must match it; an unpacked file must have its exact size and be valid in its format.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.core.arrays import Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.core.params import Loader
from darkroom.core.spelling import did_you_mean
from darkroom.datasets import folders, listing, manifest, tables

FOLDER = Path("data/datasets")
DESCRIPTION = "dataset.json"  # in the folder of raw files: a copy of the description
ROLES = {"idx": ("train_images", "train_labels", "test_images", "test_labels"), "cifar_binary": ("train", "test")}
_REMEDY = "correct it, or restore a built-in one with `git checkout`"

Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+/$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class File(_Strict):
    """A raw file, as it is stored in data/raw: uncompressed."""

    role: Literal["train_images", "train_labels", "test_images", "test_labels", "train", "test"]
    name: FileName
    bytes: Annotated[int, Field(ge=1, le=2**40)]  # exact size of the uncompressed contents
    sha256: Sha256 | None = None  # of the uncompressed contents


class Archive(_Strict):
    """A file as the publisher provides it: <file>.gz, or a .zip or .tar.gz of several files."""

    name: Annotated[FileName, Field(pattern=r"\.(gz|zip)$")]
    md5: Md5 | None = None
    inside: FileName | None = None  # folder of the files in the archive

    @property
    def packed(self) -> bool:
        """Whether the archive holds several files."""
        return self.name.endswith((".zip", ".tar.gz"))


class Debian(_Strict):
    """A Debian package that contains the files, and their folder in it."""

    package: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]


class Dataset(_Strict):
    """The fields of all kinds; the name is that of the folder."""

    name: Text
    title: Text
    licence: Text
    homepage: Text
    classes: tuple[Text, ...]
    augmentation: Augmentation

    @property
    def folder(self) -> Path:
        """The folder of its dataset.yaml, in which a user may also put its files."""
        return FOLDER / self.name

    @model_validator(mode="after")
    def _sound(self) -> "Dataset":
        if repeated := _repeated(self.classes):
            raise ValueError(f"classes must not contain duplicates, but contains {repeated!r} twice")
        if self.augmentation.shift < 0:
            raise ValueError(f"augmentation.shift = {self.augmentation.shift}: must not be negative")
        return self


class ImageFolder(Dataset):
    """A folder of images; every key of its dataset.yaml is optional."""

    kind: ClassVar[str] = "image"  # of its examples
    format: Literal["images"] = "images"
    licence: Text = "unknown"
    homepage: Text = "unknown"
    classes: tuple[Text, ...] = ()  # empty: the names of the folders, or the labels of the manifest, sorted
    augmentation: Augmentation = Augmentation(flip=False, shift=0)


class TextFolder(Dataset):
    """A folder of texts; every key of its dataset.yaml is optional, but `kind` if other files are there too."""

    kind: Literal["text"] = "text"
    licence: Text = "unknown"
    homepage: Text = "unknown"
    classes: tuple[Text, ...] = ()  # empty: the labels of the tables, sorted
    augmentation: Augmentation = Augmentation(flip=False, shift=0)  # of images


class TableFolder(Dataset):
    """A folder with a table, one example per row; its dataset.yaml has at least the `kind`."""

    kind: Literal["table"] = "table"
    licence: Text = "unknown"
    homepage: Text = "unknown"
    classes: tuple[Text, ...] = ()  # empty: the values of the target, sorted
    augmentation: Augmentation = Augmentation(flip=False, shift=0)  # of images
    target: Text | None = None  # the column to predict; None: one with a usual name
    positive: Text | bool | int | float | None = None  # class whose probability is the risk; None: the rarer one of two
    group: Text | None = None  # a column: rows with the same value stay in one split
    time: Text | None = None  # a column: the latest rows are the test set
    categorical: tuple[Text, ...] = ()  # columns that hold categories, whatever their values look like
    numeric: tuple[Text, ...] = ()  # columns that hold numbers
    ignore: tuple[Text, ...] = ()  # columns that are not inputs


class HistoryFolder(Dataset):
    """A folder with the events of users; every key of its dataset.yaml but the `kind` is optional."""

    kind: Literal["history"] = "history"
    licence: Text = "unknown"
    homepage: Text = "unknown"
    classes: tuple[()] = ()  # the items of the events
    augmentation: Augmentation = Augmentation(flip=False, shift=0)  # of images
    events: Text | None = None  # the file with the events; None: the only one that can be it
    items: Text | None = None  # the file with titles and features of items; None: items.csv, if there is one
    user: Text | None = None  # columns of the events; None: one with a usual name
    item: Text | None = None
    time: Text | None = None
    rating: Text | None = None
    min_rating: float | None = None  # events with a lower rating are left out; None: all events count


class Published(Dataset):
    """A published dataset, whose files have known checksums."""

    kind: ClassVar[str] = "image"
    format: Literal["idx", "cifar_binary"]
    transposed: bool = False  # images are stored in column-major order
    classes: Annotated[tuple[Text, ...], Field(min_length=2)]
    files: tuple[File, ...]
    mirrors: tuple[Url, ...] = ()  # tried in this order; the name of an archive is appended
    archives: tuple[Archive, ...] = ()
    debian: Debian | None = None

    def archive_of(self, file: File) -> Archive | None:
        """The archive that contains this file, alone or with others; None if no archive is known."""
        alone = [archive for archive in self.archives if archive.name == f"{file.name}.gz"]
        packed = [archive for archive in self.archives if archive.packed]
        return next(iter(alone + packed), None)

    @model_validator(mode="after")
    def _complete(self) -> "Published":
        if repeated := _repeated([file.name for file in self.files]):
            raise ValueError(f"files must not contain duplicates, but contains {repeated!r} twice")
        roles = Counter(file.role for file in self.files)
        if set(roles) != set(ROLES[self.format]) or (self.format == "idx" and max(roles.values()) > 1):
            needed = f"the roles {', '.join(ROLES[self.format])} of format = {self.format}"
            raise ValueError(f"files must have {needed}, but has {', '.join(roles) or 'none'}")
        for file in self.files:
            archive = self.archive_of(file)
            if file.sha256 is None and (archive is None or archive.md5 is None):
                raise ValueError(f"{file.name} needs a sha256, or an archive with an md5")
        if unpinned := [archive.name for archive in self.archives if archive.packed and archive.md5 is None]:
            raise ValueError(f"{unpinned[0]} needs an md5, which is checked before it is unpacked")
        return self


AnyDataset = Published | ImageFolder | TextFolder | TableFolder | HistoryFolder
_CLASSES = {  # by kind, or by format if a description has none
    "kind": {"text": TextFolder, "table": TableFolder, "history": HistoryFolder},
    "format": {"images": ImageFolder, "idx": Published, "cifar_binary": Published},
}


def require_known(name: str) -> None:
    """Raise DarkroomError if there is no folder data/datasets/<name>."""
    known = sorted(path.name for path in FOLDER.glob("[!.]*") if path.is_dir())
    if name not in known:
        hint = did_you_mean(name, known, cutoff=0.4, listed=False)
        allowed = f"must be a folder in {FOLDER}, which has {', '.join(known) or 'none'}"
        raise DarkroomError(f"data.dataset = {name!r}: {allowed}{f'; {hint}' if hint else '.'}")


def load(name: str) -> AnyDataset:
    """Read the dataset in data/datasets/<name>; without a dataset.yaml it is a folder of images or texts.

    Raises DarkroomError if there is no such folder, or if its dataset.yaml is invalid.
    """
    require_known(name)
    path = FOLDER / name / "dataset.yaml"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader)  # Loader is a SafeLoader: plain values only
    except FileNotFoundError:
        values = {}
    except (OSError, yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an invalid date
        raise DarkroomError(f"{path} cannot be read ({' '.join(str(error).split())}): {_REMEDY}.") from None
    if not isinstance(values, dict):
        raise DarkroomError(f"{path} must hold keys such as title, licence and classes, but holds {values!r}.")
    if not {"kind", "format"} & values.keys() and _holds_texts(FOLDER / name):
        values = {"kind": "text", **values}
    return parse(json.dumps({**values, "name": name}, default=str), path)


def _holds_texts(folder: Path) -> bool:
    """Whether a folder without a dataset.yaml holds texts: a table and no folders of classes, or folders of .txt files.

    A folder with a manifest holds images.
    """
    if manifest.find(folder) is not None:
        return False
    others = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = (file for top in others for file in folders.files(folder, top))
    if tables.find(folder):
        has_classes = any(not listing.holds_no_class(path.name) for path in others)
        return not has_classes and all(
            file.casefold().endswith((tables.FILES, *tables.SUFFIXES, ".md")) for file in files
        )
    first = next(files, "")
    return all(file.casefold().endswith(tables.FILES) for file in chain([first], files))


def parse(text: str, source: str | Path) -> AnyDataset:
    """Validate a JSON description; raise DarkroomError that names `source`, the key, its value and what is allowed."""
    values = json.loads(text)
    key = "kind" if "kind" in values else "format"
    given, classes = values.get(key, "images"), _CLASSES[key]
    if str(given) not in classes:
        allowed = f"must be one of {', '.join(classes)}{' (images need none)' if key == 'kind' else ''}"
        raise DarkroomError(f"{source}: {key} = {given!r}: {allowed}; {_REMEDY}.")
    try:
        # Validated as JSON: strict validation of Python values refuses a list for a tuple.
        return classes[str(given)].model_validate_json(json.dumps({"title": values.get("name"), **values}))
    except ValidationError as error:
        raise DarkroomError(f"{source}: {_message(error.errors()[0])}; {_REMEDY}.") from None


def _message(error: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"] if part != "constrained-str")  # of several allowed types
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        return f"{key} is not a key of a dataset.yaml of this format"
    given = "" if isinstance(error["input"], dict | list) else f" = {error['input']!r}"
    if error["type"] == "string_type" and not isinstance(error["input"], dict | list):
        return f"{key}{given}: must be text: put it in quotes"
    allowed = re.sub("^(Value error, |Input |String |Tuple )| after validation.*", "", error["msg"])
    return f"{key}{given}{': ' if key else ''}{allowed.replace('should', 'must', 1)}"


def _repeated(values: Sequence[str]) -> str | None:
    """The first value that occurs more than once."""
    return next((value for value, count in Counter(values).items() if count > 1), None)
