"""The `explain` section of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import Field

from darkroom.core.params import Section


class ExplainConfig(Section):
    """Which test images are shown with their maps, and on how many the maps are measured."""

    renamed: ClassVar = {"each": "images_per_kind"}
    images_per_kind: Annotated[int, Field(ge=1, le=50)]
    faithfulness_samples: Annotated[int, Field(ge=2, le=10_000)]


SECTIONS = {"explain": ExplainConfig}
