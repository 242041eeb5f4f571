"""Parameters of the conversion of an image file to an array, in training and in production."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from darkroom.core.params import PositiveInt, Section


class ImageConfig(Section):
    """The part of the `preprocess` section that the exported model needs as well."""

    model_config = ConfigDict(extra="ignore")

    resize: Literal["stretch", "crop", "pad"]
    interpolation: Literal["bilinear", "bicubic"]
    crop_fraction: Annotated[float, Field(ge=0.5, le=1)]
    denoise: Literal["none", "median"]
    max_pixels: PositiveInt
