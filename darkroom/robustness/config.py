"""The `robustness` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from darkroom.core.params import PositiveInt, Section


def _no_duplicates(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("must not contain duplicates")
    return values


class RobustnessConfig(Section):
    """Corruptions of the test images."""

    samples: PositiveInt
    severities: Annotated[list[Literal[1, 2, 3, 4, 5]], Field(min_length=1), AfterValidator(_no_duplicates)]


SECTIONS = {"robustness": RobustnessConfig}
