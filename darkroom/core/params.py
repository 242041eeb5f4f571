"""Read params.yaml, one section at a time.

Each section has a config class in the room that uses it (`<room>/config.py`), and `darkroom/schema.py` composes them to
check the whole file. A stage names the sections that it reads, so `dvc.yaml` can be held to them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import did_you_mean

PATH = Path("params.yaml")

Share = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys, wrong types, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}  # earlier names of keys, for the error message


class Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-4` as a number, as YAML 1.2 and DVC do, and rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is given twice (line {node.start_mark.line + 1} and below)")
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load(path: str | Path = PATH, /, **sections: Any) -> Any:
    """Read the named sections of `path`, each validated by its config class: `load(train=TrainConfig)`.

    Returns one section as it is, several as a tuple in the order given. Raises DarkroomError that names the key, the
    value, what is allowed and the closest known key.
    """
    values = read(Path(path))
    if not isinstance(values, dict):
        raise DarkroomError(f"{path} must hold sections such as {', '.join(sections)}, but it holds {values!r}.")
    missing = [name for name in sections if name not in values]
    if missing:
        raise DarkroomError(f"{path}: {missing[0]} is missing: add it, or restore the file with `git checkout {path}`.")
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
    """Parse a YAML file without validation; raise DarkroomError if it is missing or not YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)  # Loader is a SafeLoader: plain values only
    except FileNotFoundError:
        remedy = f"run from the root of the project, or restore it with `git checkout {path}`"
        raise DarkroomError(f"{path} is missing: {remedy}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DarkroomError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None


def _messages(errors: Sequence[Mapping[str, Any]], kind: Any, prefix: list[str]) -> Iterator[str]:
    """One line per key: the members of a union each report an error, which are joined."""
    lines: dict[str, str] = {}
    replaced: set[str] = set()  # keys that are missing only because their earlier name is used
    for error in errors:
        location = [str(part) for part in error["loc"] if not re.match(r"constrained-|literal\[", str(part))]
        if error["type"] == "extra_forbidden":
            section = _section_at(kind, location[:-1])
            new = section.renamed.get(location[-1])
            key = ".".join([*prefix, *location])
            if new:
                replaced.add(".".join([*prefix, *location[:-1], new]))
                lines[key] = f"{key} was renamed: use {'.'.join([*prefix, *location[:-1], new])}"
            else:
                known = [".".join([*prefix, *location[:-1], name]) for name in section.model_fields]
                lines[key] = f"{key} = {error['input']!r} is not a parameter; {did_you_mean(key, known)}"
            continue
        key, start, allowed = _message(error, [*prefix, *location])
        lines[key] = f"{lines[key]} or {allowed}" if key in lines else f"{start}{allowed}"
    yield from (line if line.endswith("?") else f"{line}." for key, line in lines.items() if key not in replaced)


def _message(error: Mapping[str, Any], location: Sequence[str]) -> tuple[str, str, str]:
    """The key, what was given, and what is allowed."""
    key, value = ".".join(location), error["input"]
    if error["type"] == "missing":
        return key, f"{key} is missing: ", f"add it, or restore the file with `git checkout {PATH}`"
    allowed = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    allowed = allowed.replace("dictionary or instance of", "section like").rstrip(".")
    if error["type"] == "literal_error" and isinstance(value, str):
        hint = did_you_mean(value, re.findall(r"'([^']+)'", allowed), listed=False)
        allowed += f"; {hint}" if hint else ""
    if isinstance(value, dict):
        return key, f"{key}: ", allowed
    return key, f"{key} = {value!r} is not allowed: it ", allowed


def _section_at(kind: Any, keys: Sequence[str]) -> type[Section]:
    for key in keys:
        kind = kind.model_fields[key].annotation
    return kind
