"""Parameters of the conversion of an image file to an array, in training and in production."""

from typing import Literal

from pydantic import ConfigDict

from darkroom.core.params import PositiveInt, Section


class ImageConfig(Section):
    """The part of the `preprocess` section that the exported model needs as well."""

    model_config = ConfigDict(extra="ignore")

    resize: Literal["stretch", "crop", "pad"]
    denoise: Literal["none", "median"]
    max_pixels: PositiveInt
