"""The schema of a search file, searches/<name>.yaml: what is varied, what is measured, and how long it may take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.params import PositiveInt, Section, Seed

Scalar = bool | int | float | str
Condition = Mapping[str, Any]  # parameter -> the values of it with which another parameter is searched
Costs = Literal["none", "parameters", "flops", "latency_ms", "latency_int8_ms"]


class Choices(Section):
    """A parameter that takes one of some values."""

    choices: Annotated[list[Scalar], Field(min_length=1)]
    when: dict[str, Any] = Field({})

    @model_validator(mode="after")
    def _distinct(self) -> "Choices":
        repeated = [value for index, value in enumerate(self.choices) if _is_in(value, self.choices[:index])]
        if repeated:
            raise ValueError(f"choices must be distinct, but {repeated[0]!r} is given twice")
        return self


class Range(Section):
    """A number between two bounds, both included."""

    renamed: ClassVar = {"min": "low", "max": "high", "if": "when"}
    low: int | float
    high: int | float
    log: bool = False  # uniform in the logarithm
    step: Annotated[int | float, Field(gt=0)] | None = None  # between the values; None: 1 of integers, any real number
    when: dict[str, Any] = Field({})

    @model_validator(mode="after")
    def _consistent(self) -> "Range":
        if self.low >= self.high:
            kind = "empty" if self.low == self.high else "inverted"
            raise ValueError(f"the range is {kind}: low = {self.low:g} must be less than high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"with log: true, low = {self.low:g} must be greater than 0")
        if self.log and self.step:
            raise ValueError("a logarithmic range has no step: remove step, or list choices")
        if self.step and self.step > self.high - self.low:
            raise ValueError(f"step = {self.step:g} must be at most high - low = {self.high - self.low:g}")
        return self


class Search(Section):
    """A search file."""

    recipe: str = "none"  # of recipes/, over params.yaml; none: params.yaml as it is
    cost: Costs = "none"  # a second objective, to be minimised
    latency: bool = False  # measure the latency of each exported model; a cost that is a latency implies it
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruning: bool = True  # stop trials that fall behind; not with a cost
    trials: PositiveInt
    hours: Annotated[float, Field(gt=0)] | None = None  # of all trials; None: no limit
    finalists: Annotated[int, Field(ge=0, le=100)] = 3  # best trials that are trained again
    seeds: Annotated[list[Seed], Field(min_length=2)] = Field([1, 2, 3, 4, 5])  # of these trainings
    parameters: Annotated[dict[str, Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Search":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must be distinct")
        if self.cost != "none" and self.pruning and "pruning" in self.model_fields_set:
            raise ValueError(f"pruning needs a single objective: with cost = {self.cost} set pruning: false")
        epochs = self.parameters.get("train.epochs")
        choices = epochs.get("choices") if isinstance(epochs, dict) else epochs
        if self.prunes and epochs is not None and not (isinstance(choices, list) and len(choices) == 1):
            raise ValueError(
                "trials of different length cannot be compared epoch by epoch: with pruning: true, "
                "train.epochs must have one value; set pruning: false to search it"
            )
        return self

    @property
    def prunes(self) -> bool:
        """Whether trials that fall behind are stopped."""
        return self.pruning and self.cost == "none"

    @property
    def measures_latency(self) -> bool:
        """Whether each trial is exported and timed."""
        return self.latency or self.cost.startswith("latency")


def read(path: Path) -> tuple[Search, dict[str, Range | Choices]]:
    """The search in a file, and its parameters by dotted name. Raises DarkroomError, one line per error."""
    if not path.is_file():
        raise DarkroomError(f"{path} is missing: give a search file, such as searches/default.yaml.")
    values = params.read(path)
    if not isinstance(values, dict):
        raise DarkroomError(f"{path} must hold the keys {', '.join(Search.model_fields)}, but holds {values!r}.")
    search = params.validate(Search, values, str(path))
    return search, {
        str(name): _parameter(value, str(path), f"parameters.{name}") for name, value in search.parameters.items()
    }


def _parameter(value: Any, source: str, key: str) -> Range | Choices:
    """One entry of `parameters`: [a, b] is short for {choices: [a, b]}."""
    if isinstance(value, list):
        value = {"choices": value}
    if not isinstance(value, dict):
        raise DarkroomError(f"{source}: {key} = {value!r}: must be a list of choices or a range {{low: 1, high: 2}}.")
    return params.validate(Choices if "choices" in value else Range, value, source, key)


def _is_in(value: Any, values: list[Any]) -> bool:
    """Whether a value is in the list; unlike `in`, true is not 1."""
    return any(type(value) is type(other) and value == other for other in values)
