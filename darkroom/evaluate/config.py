"""The `evaluate` section of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from darkroom.core.params import Section
from darkroom.recommend.config import RankingConfig

RESERVED = (  # columns of metrics/predictions.csv
    *("id", "label", "predicted", "confidence", "label_probability"),
    *("recommended", "rank", "history_length", "popularity"),
)


def _free_names(names: list[str]) -> list[str]:
    if taken := [name for name in names if name in RESERVED]:
        raise ValueError(f"must not name {taken[0]}, a column of predictions.csv: rename it in the manifest")
    if len(set(names)) < len(names):
        raise ValueError("must not contain duplicates")
    return names


class CostConfig(Section):
    """What wrong decisions about examples of two classes cost, relative to each other."""

    missed: Annotated[float, Field(gt=0)]
    refused: Annotated[float, Field(gt=0)]


class EvaluateConfig(RankingConfig):
    """What is measured on the test set."""

    model_config = ConfigDict(extra="forbid")
    renamed: ClassVar = {"gallery": "gallery_size"}
    top_k: Annotated[int, Field(ge=2, le=1000)]
    test_time_flip: bool
    gallery_size: Annotated[int, Field(ge=1, le=100)]
    target_accuracy: Annotated[float, Field(gt=0, le=1)]
    confidence: Annotated[float, Field(ge=0.5, lt=1)]
    conformal_coverage: Annotated[float, Field(ge=0.5, lt=1)]
    cost: CostConfig
    slices: Annotated[list[str], AfterValidator(_free_names)]


SECTIONS = {"evaluate": EvaluateConfig}
