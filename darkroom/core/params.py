"""Read params.yaml, one section at a time.

Each section has a config class in the room that uses it (`<room>/config.py`); `darkroom/schema.py` composes them to
check the whole file. A stage names the sections that it reads, so a test can hold the `params:` of dvc.yaml to them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import closest, did_you_mean

PATH = Path("params.yaml")


def _refuse_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must be none instead of null")
    return value


Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
NameOrNone = Annotated[str, BeforeValidator(_refuse_null)]  # "none" if there is none


class Section(BaseModel):
    """A section of params.yaml: unknown keys, wrong types, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}  # earlier name of a key -> its present name, for the error message


class Loader(yaml.SafeLoader):
    """Safe YAML that reads plain values as DVC does, by YAML 1.2, and rejects duplicate keys.

    PyYAML's own rules, of YAML 1.1, read `no` as false, `1:30` as 90, `010` as 8, and `1e-4` as text.
    """

    yaml_implicit_resolvers: ClassVar = {
        first: [
            (tag, pattern) for tag, pattern in rules if tag.rpartition(":")[2] not in ("bool", "int", "float", "value")
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is given twice (line {node.start_mark.line + 1} and below)")
        return super().construct_mapping(node, deep)


def _integer(loader: Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, 0 if re.match("[-+]?0[box]", text) else 10)


for _tag, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
        r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), list(_first))
Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def load(path: str | Path = PATH, /, **sections: Any) -> Any:
    """Read the named sections of `path`, each validated by its config class: `load(train=TrainConfig)`.

    Returns a single section as it is, several as a tuple in the order given. Raises DarkroomError that names each
    invalid key, its value and what is allowed.
    """
    values = read(Path(path))
    if not isinstance(values, dict):
        raise DarkroomError(f"{path} must hold sections such as {', '.join(sections)}, but holds {_shown(values)}.")
    if missing := [name for name in sections if name not in values]:
        raise DarkroomError(f"{path}: {missing[0]} {_missing(path)}.")
    loaded = tuple(validate(kind, values[name], str(path), name) for name, kind in sections.items())
    return loaded[0] if len(loaded) == 1 else loaded


def validate(kind: Any, values: Any, source: str, section: str = "") -> Any:
    """Validate the parsed `values` as `kind`, a Section or another type.

    Raises DarkroomError with one line per error; each names `source` and the key, which starts with `section`.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        lines = _messages(error.errors(), kind, [section] if section else [])
        raise DarkroomError("\n".join(f"{source}: {line}" for line in lines)) from None


def read(path: Path) -> Any:
    """Parse a YAML file without validation; raise DarkroomError if it is missing or not valid YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)  # Loader is a SafeLoader: plain values only
    except FileNotFoundError:
        remedy = f"run from the root of the project, or restore it with `git checkout {path}`"
        raise DarkroomError(f"{path} is missing: {remedy}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DarkroomError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def _messages(errors: Sequence[Mapping[str, Any]], kind: Any, prefix: Sequence[str]) -> Iterator[str]:
    """One line per key. The members of a union report an error each; these are joined by "or"."""
    lines: dict[str, str] = {}
    hints: dict[str, str] = {}
    replaced: set[str] = set()  # keys that are missing because an earlier or misspelt name is used instead
    for error in errors:
        location = [str(part) for part in error["loc"] if not re.match(r"constrained-|literal\[", str(part))]
        key, value = ".".join([*prefix, *location]), error["input"]
        if error["type"] == "extra_forbidden":
            lines[key], meant = _unknown(key, location[-1], _type_at(kind, location[:-1]))
            replaced.add(meant)
        elif error["type"] == "missing":
            lines[key] = f"{key} {_missing(PATH)}"
        elif key in lines:
            lines[key] += f" or {_allowed(error, kind, location).removeprefix('must be ')}"
        else:
            given = key if isinstance(value, dict) else f"{key} = {_shown(value)}"
            lines[key] = f"{given}: {_allowed(error, kind, location)}"
        if error["type"] == "literal_error" and isinstance(value, str):
            hints[key] = did_you_mean(value, re.findall(r"'([^']+)'", error["msg"]), listed=False)
    for key in (key for key in lines if key not in replaced):
        line = f"{lines[key]}; {hints[key]}" if hints.get(key) else lines[key]
        yield line if line.endswith("?") else f"{line}."


def _unknown(key: str, name: str, section: type[Section]) -> tuple[str, str]:
    """The message on a key that `section` does not have, and the key that was probably meant."""
    start = key.removesuffix(name)
    if name in section.renamed:
        meant = start + section.renamed[name]
        return f"{key} was renamed: use {meant}", meant
    if suggested := closest(name, section.model_fields):
        return f"{key} is not a parameter; did you mean {start}{suggested}?", start + suggested
    return f"{key} is not a parameter; known: {', '.join(section.model_fields)}", ""


def _missing(path: str | Path) -> str:
    return f"is missing: add it, or restore the file with `git checkout {path}`"


def _allowed(error: Mapping[str, Any], kind: Any, location: Sequence[str]) -> str:
    """What is allowed, after "key = value: "."""
    if error["type"] == "model_type":
        return f"must be a section with the keys {', '.join(_type_at(kind, location).model_fields)}"
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float | date):
        return "must be text: put it in quotes (with -S in two pairs: \"key='value'\")"
    if error["type"] == "invalid_key":
        return "must not be the name of a parameter: names are text"
    allowed = re.sub(r"^(Value error, |Input |List |String )| after validation.*", "", error["msg"])
    return allowed.replace("should", "must", 1)


def _type_at(kind: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        kind = kind.model_fields[key].annotation
    return kind


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
