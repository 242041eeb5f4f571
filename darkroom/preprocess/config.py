"""The `preprocess` section of params.yaml."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from darkroom.core.params import NameOrNone, Section
from darkroom.inputs.config import ImageConfig


def _csv_name(name: str) -> str:
    if name not in ("auto", "none") and (not re.fullmatch(r"[^/\\\x00-\x1f]+\.csv", name) or name.startswith(".")):
        allowed = "the name of a .csv file in the dataset's folder, without path separators"
        raise ValueError(f"must be auto, none or {allowed}")
    return name


def _range(values: str | list[int]) -> str | list[int]:
    if values != "auto" and not (len(values) == 2 and values[0] < values[1]):
        raise ValueError("must be auto or two numbers, the lower one first, such as [7300, 8200]")
    return values


Level = Annotated[int, Field(ge=0, le=2**16 - 1)]


class CleanConfig(Section):
    """Which examples are removed; see darkroom/preprocess/cleaning.py."""

    renamed: ClassVar = {"near_leak": "near_leak_difference"}  # which was in grey levels

    constant: bool
    leak: bool
    near_leak_difference: Annotated[float, Field(ge=0, le=1)]  # fraction of the contrast, see likeness.py
    conflict: bool
    duplicate: bool
    max_aspect: Annotated[float, Field(ge=0)]
    min_class_size: Annotated[int, Field(ge=0)]


class TextConfig(Section):
    """How texts become token ids."""

    tokenizer: Annotated[NameOrNone, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    vocabulary: Annotated[int, Field(ge=300, le=200_000)]
    max_tokens: Annotated[int, Field(ge=8, le=512)]


class HistoryConfig(Section):
    """How the events of users become histories."""

    max_length: Annotated[int, Field(ge=2, le=1024)]
    min_user_events: Annotated[int, Field(ge=2)]
    min_item_events: Annotated[int, Field(ge=1)]
    split: Literal["last", "time"]


class PreprocessConfig(ImageConfig):
    """How raw files become packed arrays; what only one kind needs is ignored for others."""

    model_config = ConfigDict(extra="forbid")

    image_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    color: Literal["auto", "grey", "rgb"]
    intensity_range: Annotated[Literal["auto"] | list[Level], AfterValidator(_range)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    clean: CleanConfig
    relabel: Annotated[NameOrNone, AfterValidator(_csv_name)]
    labels_per_class: Literal["all"] | Annotated[int, Field(ge=1)]
    text: TextConfig
    history: HistoryConfig
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]


SECTIONS = {"preprocess": PreprocessConfig}
