"""The `explain` section of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import Field

from darkroom.core.params import Section


class ExplainConfig(Section):
    """Which test images are explained."""

    renamed: ClassVar = {"each": "images_per_kind"}
    images_per_kind: Annotated[int, Field(ge=1, le=50)]


SECTIONS = {"explain": ExplainConfig}
