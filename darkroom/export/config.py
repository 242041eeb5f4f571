"""The `export` section of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import Field

from darkroom.core.params import PositiveInt, Section, Share


class Int8Config(Section):
    """The int8 model, and what it must reach to be published."""

    renamed: ClassVar = {"calibration": "calibration_samples", "max_accuracy_drop": "max_accuracy_drop"}
    calibration_samples: PositiveInt
    max_accuracy_drop: Share
    min_agreement: Annotated[float, Field(ge=0, le=1)]
    min_speedup: Annotated[float, Field(ge=0)]


class ExportConfig(Section):
    """The exported bundle."""

    opset: Annotated[int, Field(ge=18, le=23)]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    int8: Int8Config
