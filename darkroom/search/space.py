"""The space of a search: which parameters are active, what is sampled, and the params.yaml that a sample stands for."""

import copy
import functools
import itertools
import random
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from optuna.trial import Trial

from darkroom import schema
from darkroom.core.errors import DarkroomError
from darkroom.core.params import Section, flat
from darkroom.core.spelling import did_you_mean
from darkroom.models.config import ModelConfig
from darkroom.search.description import Choices, Range, Scalar

FAMILY = "model.name"
SECTIONS = ("seed", "model", "train")  # of params.yaml: what the stage train reads
NEUTRAL = {f"train.{name}" for name in ("device", "processes", "parallel", "threads", "checkpoint_steps")}
MAX_POINTS = 10_000  # of a grid
_DIGITS = 4  # significant ones of a sampled real number, so that params.yaml stays readable
_ALONE, _IN_PAIRS, _AT_RANDOM = 32, 8, 200  # values of a parameter, and samples, that the schema checks beforehand

Sample = dict[str, Scalar]  # the values of the active parameters, by dotted name
Conditions = dict[str, list]  # parameter -> its values with which another one is active


@dataclass(frozen=True)
class Space:
    """The searched `parameters`, their `conditions`, and `base`, the params.yaml that each sample changes."""

    parameters: Mapping[str, Range | Choices]
    conditions: Mapping[str, Conditions]
    base: Mapping[str, Any]

    def suggest(self, trial: Trial) -> Sample:
        """Let Optuna choose a value of each active parameter."""
        sample: Sample = {}
        for name, entry in self.parameters.items():
            if self.is_active(name, sample):
                sample[name] = self._suggest(trial, name, entry)
        return sample

    def present(self) -> Sample | None:
        """The values of the active parameters in `base`; None if one is outside of the space."""
        given, sample = flat(self.base), {}
        for name, entry in self.parameters.items():
            if self.is_active(name, sample):
                if not self._has(name, entry, given[name]):
                    return None
                sample[name] = given[name]
        return sample

    def params(self, sample: Mapping[str, Scalar]) -> dict[str, Any]:
        """The values of the params.yaml that a sample stands for."""
        values = copy.deepcopy(dict(self.base))
        for name, value in sample.items():
            *sections, last = name.split(".")
            section = values
            for key in sections:
                section = section[key]
            section[last] = value
        return values

    def is_active(self, name: str, sample: Mapping[str, Scalar]) -> bool:
        """Whether a parameter is searched, given the values of those above it."""
        return all(parent in sample and sample[parent] in of for parent, of in self.conditions[name].items())

    def points(self) -> list[Sample]:
        """All samples of a grid. Raises DarkroomError if a range has no step or if they are too many."""
        for name, entry in self.parameters.items():
            if isinstance(entry, Range) and (entry.log or (self._is_real(name) and not entry.step)):
                raise DarkroomError(f"parameters.{name}: a grid needs choices, or a range with a step and without log.")
        found = list(itertools.islice(self._points({}, list(self.parameters)), MAX_POINTS + 1))
        if len(found) > MAX_POINTS:
            raise DarkroomError(f"the grid has more than {MAX_POINTS:,} points: search fewer values, or by tpe.")
        return found

    def identity(self) -> dict[str, Any]:
        """What trials of one search share: the space, and the other parameters that a training reads; for JSON."""
        families = self.parameters[FAMILY].choices if FAMILY in self.parameters else [self.base["model"]["name"]]
        unused = {f"model.{family}." for family in ModelConfig.families() if family not in families}
        shared = {
            key: value
            for key, value in flat({name: self.base[name] for name in SECTIONS}).items()
            if key not in NEUTRAL | set(self.parameters) and not key.startswith(tuple(unused))
        }
        searched = {
            f"parameters.{name}": {**entry.model_dump(exclude={"when"}), "when": self.conditions[name]}
            for name, entry in self.parameters.items()
        }
        return searched | shared

    def check(self) -> None:
        """Raise DarkroomError if a sampled params.yaml may be invalid.

        The schema checks the ends and values of each parameter, those of each two together, and random samples.
        """
        names = list(self.parameters)
        overrides: Iterator[Sample] = itertools.chain(
            ({name: value} for name in names for value in self.values(name, _ALONE)),
            (
                {first: one, second: other}
                for first, second in itertools.combinations(names, 2)
                for one in self.values(first, _IN_PAIRS)
                for other in self.values(second, _IN_PAIRS)
            ),
            self._random_samples(),
        )
        for override in overrides:
            if (sample := self._completed(override)) is not None:
                try:
                    schema.check(self.params(sample), "a sampled params.yaml")
                except DarkroomError as error:
                    raise DarkroomError(str(error).splitlines()[0]) from None

    def values(self, name: str, most: int) -> list[Scalar]:
        """Values of a parameter: all, or of a range with more than `most` both ends and evenly spaced ones."""
        entry = self.parameters[name]
        if isinstance(entry, Choices):
            return list(entry.choices)
        is_real = self._is_real(name)
        step = entry.step or (0 if is_real else 1)
        count = round((entry.high - entry.low) / step) + 1 if step else most
        shown = min(count, most)
        if not step:
            spaced = [entry.low + (entry.high - entry.low) * index / (shown - 1) for index in range(shown)]
        else:
            indices = dict.fromkeys(round(index * (count - 1) / (shown - 1)) for index in range(shown))
            spaced = [entry.low + step * index for index in indices]
        return [rounded(value, entry) if is_real else value for value in spaced]

    def _suggest(self, trial: Trial, name: str, entry: Range | Choices) -> Scalar:
        if isinstance(entry, Choices):
            return trial.suggest_categorical(name, entry.choices)
        if self._is_real(name):
            return rounded(trial.suggest_float(name, entry.low, entry.high, step=entry.step, log=entry.log), entry)
        return trial.suggest_int(name, entry.low, entry.high, step=entry.step or 1, log=entry.log)

    def _has(self, name: str, entry: Range | Choices, value: Scalar) -> bool:
        if isinstance(entry, Choices):
            return value in entry.choices
        if isinstance(value, str) or not entry.low <= value <= entry.high:
            return False
        if not (step := entry.step or (0 if self._is_real(name) else 1)):
            return rounded(value, entry) == value
        steps = (value - entry.low) / step
        return abs(steps - round(steps)) < 1e-9 * max(1, steps)

    def _is_real(self, name: str) -> bool:
        return float in _types(name)

    def _points(self, sample: Sample, names: list[str]) -> Iterator[Sample]:
        if not names:
            yield sample
        elif not self.is_active(names[0], sample):
            yield from self._points(sample, names[1:])
        else:
            for value in self.values(names[0], MAX_POINTS + 1):
                yield from self._points({**sample, names[0]: value}, names[1:])

    def _random_samples(self) -> Iterator[Sample]:
        chance = random.Random(0)
        for _ in range(_AT_RANDOM):
            yield {name: chance.choice(self.values(name, _ALONE)) for name in self.parameters}

    def _completed(self, override: Sample) -> Sample | None:
        """A sample with these values; the conditions of one or two of them choose the others. None if there is none."""
        needed = merged(required(name, self.conditions) for name in override) if len(override) < 3 else {}
        if needed is None or any(name in needed and value not in needed[name] for name, value in override.items()):
            return None
        sample: Sample = {}
        for name in self.parameters:
            if self.is_active(name, sample):
                sample[name] = override.get(name, next(iter(needed.get(name, self.values(name, 2)))))
        return sample


def build(parameters: Mapping[str, Range | Choices], base: Mapping[str, Any]) -> Space:
    """The space of these parameters over `base`, a valid params.yaml.

    Raises DarkroomError, naming the parameter, if one is unknown or cannot be searched, or if it has no effect.
    """
    ordered = dict(sorted(parameters.items(), key=lambda item: item[0] != FAMILY))  # the others may depend on it
    conditions: dict[str, Conditions] = {}
    for name, entry in ordered.items():
        _require_searchable(name)
        if isinstance(entry, Range):
            _require_numbers(name, entry)
        conditions[name] = {
            parent: _condition(name, parent, values, ordered, conditions) for parent, values in entry.when.items()
        } | _family_condition(name, ordered, base)
        if required(name, conditions) is None:
            raise DarkroomError(f"parameters.{name}.when: the conditions of it and of its conditions never hold.")
    return Space(ordered, conditions, base)


def required(name: str, conditions: Mapping[str, Conditions]) -> Conditions | None:
    """The values of other parameters with which this one is active; None if they contradict each other."""
    own = conditions[name]
    return merged([own, *(required(parent, conditions) for parent in own)])


def merged(several: Any) -> Conditions | None:
    """The conditions that hold if all of several do; None if they contradict each other, or one is None."""
    both: Conditions = {}
    for some in several:
        if some is None:
            return None
        for parent, values in some.items():
            both[parent] = [value for value in both.get(parent, values) if value in values]
    return both if all(both.values()) else None


def rounded(value: float, entry: Range) -> float:
    """The value with few significant digits, within the range; on a step as exactly as decimals can."""
    digits = 12 if entry.step else _DIGITS
    return min(max(float(f"{value:.{digits}g}"), float(entry.low)), float(entry.high))


def _require_searchable(name: str) -> None:
    known = _names(schema.Params)
    if name not in known:
        searched = [key for key in known if key.startswith(("model.", "train."))]
        hint = did_you_mean(name, searched, listed=False) or "params.yaml lists all"
        raise DarkroomError(f"parameters.{name} is not a parameter; {hint}{'' if hint.endswith('?') else '.'}")
    if name == "seed":
        raise DarkroomError("parameters.seed cannot be searched: it is luck, and `seeds` measures it.")
    if not name.startswith(("model.", "train.")):
        what = "changes the data" if name.startswith(("data.", "preprocess.")) else "does not change the training"
        raise DarkroomError(f"parameters.{name} cannot be searched: it {what}; only model.* and train.* can.")
    if name == "model.pretrained":
        raise DarkroomError(
            f"parameters.{name} cannot be searched: another stage writes the weights; set it and rerun."
        )
    if name in NEUTRAL:
        raise DarkroomError(f"parameters.{name} cannot be searched: it does not change what is learned.")


def _require_numbers(name: str, entry: Range) -> None:
    kinds = _types(name)
    if not kinds & {int, float}:
        raise DarkroomError(f"parameters.{name} is not a number: list its choices.")
    given = [value for value in (entry.low, entry.high, entry.step) if value is not None]
    if float not in kinds and any(isinstance(value, float) for value in given):
        raise DarkroomError(f"parameters.{name} is a whole number, but low, high or step is not.")
    if entry.step:
        steps = (entry.high - entry.low) / entry.step
        if abs(steps - round(steps)) > 1e-9 * max(1, steps):
            raise DarkroomError(f"parameters.{name}: step = {entry.step:g} must divide high - low.")


def _condition(
    name: str, parent: str, values: Any, parameters: Mapping[str, Range | Choices], above: Mapping[str, Conditions]
) -> list:
    key = f"parameters.{name}.when.{parent}"
    if parent not in above:
        order = "must stand above it" if parent in parameters else "is not searched, so the condition never changes"
        raise DarkroomError(f"{key}: {parent} {order}.")
    entry, values = parameters[parent], values if isinstance(values, list) else [values]
    if isinstance(entry, Range):
        raise DarkroomError(f"{key}: {parent} must have choices, not a range.")
    if not values or (unknown := [value for value in values if value not in entry.choices]):
        raise DarkroomError(f"{key} = {unknown[0] if values else values!r} never holds: {parent} is {entry.choices}.")
    return values


def _family_condition(name: str, parameters: Mapping[str, Any], base: Mapping[str, Any]) -> Conditions:
    """The condition that a network's own parameters have: that it is chosen."""
    family = name.split(".")[1] if name.startswith("model.") else ""
    if family not in ModelConfig.families():
        return {}
    chosen = parameters[FAMILY].choices if FAMILY in parameters else [base["model"]["name"]]
    if family not in chosen:
        raise DarkroomError(f"parameters.{name} has no effect: {FAMILY} is {' or '.join(map(str, chosen))}.")
    return {FAMILY: [family]} if FAMILY in parameters else {}


def _names(kind: type[Section], prefix: str = "") -> dict[str, Any]:
    """The type of each parameter of a config class, by dotted name."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        is_section = isinstance(inner, type) and issubclass(inner, Section)
        found |= _names(inner, f"{prefix}{name}.") if is_section else {f"{prefix}{name}": inner}
    return found


@functools.cache
def _types(name: str) -> frozenset[type]:
    """The types of a parameter's values."""
    return frozenset(_plain(_names(schema.Params)[name]))


def _plain(kind: Any) -> Iterator[type]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _plain(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(kind):
            yield from _plain(member)
    elif isinstance(kind, type):
        yield kind
