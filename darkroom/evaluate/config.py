"""The `evaluate` section of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import Field

from darkroom.core.params import Section


class EvaluateConfig(Section):
    """What is measured on the test set."""

    renamed: ClassVar = {"gallery": "gallery_size"}
    top_k: Annotated[int, Field(ge=2, le=1000)]
    test_time_flip: bool
    gallery_size: Annotated[int, Field(ge=1, le=100)]
    target_accuracy: Annotated[float, Field(gt=0, le=1)]


SECTIONS = {"evaluate": EvaluateConfig}
