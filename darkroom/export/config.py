"""The `export` section of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import Field

from darkroom.core.params import Fraction, PositiveInt, Section


class Int8Config(Section):
    """The int8 model, and the requirements for publishing it."""

    renamed: ClassVar = {"calibration": "calibration_samples", "max_loss": "max_accuracy_drop"}

    calibration_samples: PositiveInt
    max_accuracy_drop: Fraction
    min_agreement: Annotated[float, Field(ge=0, le=1)]
    min_speedup: Annotated[float, Field(ge=0)]


class ExportConfig(Section):
    """The exported bundle."""

    opset: Annotated[int, Field(ge=18, le=23)]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    int8: Int8Config


SECTIONS = {"export": ExportConfig}
