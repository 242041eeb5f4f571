"""The schema of the whole params.yaml, composed of the SECTIONS that the rooms declare in their `config.py`.

It can reject a run but never change a result, so no stage depends on it. The stage check applies it first.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import create_model

from darkroom.core.errors import DarkroomError
from darkroom.core.params import PATH, Section, Seed, read, validate

ROOMS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/config.py"))
SECTIONS: dict[str, type[Section]] = {
    name: kind
    for room in ROOMS
    for name, kind in getattr(import_module(f"darkroom.{room}.config"), "SECTIONS", {}).items()
}
Params = create_model(
    "Params", __base__=Section, seed=(Seed, ...), **{name: (SECTIONS[name], ...) for name in SECTIONS}
)


def check(values: Any, source: str = str(PATH)) -> Params:
    """Validate the parsed contents of a params.yaml; raise DarkroomError with one line per error, naming `source`."""
    if not isinstance(values, dict):
        raise DarkroomError(f"{source} must hold the sections {', '.join(Params.model_fields)}, but holds {values!r}.")
    return validate(Params, values, source)


def load() -> Params:
    """Read and validate the whole of params.yaml."""
    return check(read(PATH))
