"""The schema of the whole params.yaml, composed of the config classes of the rooms.

It can reject a run but never change a result, so no stage depends on it. The stage check applies it first.
"""

from typing import Any

from darkroom.core.errors import DarkroomError
from darkroom.core.params import PATH, Section, Seed, read, validate
from darkroom.datasets.config import DataConfig
from darkroom.evaluate.config import EvaluateConfig
from darkroom.explain.config import ExplainConfig
from darkroom.export.config import ExportConfig
from darkroom.models.config import ModelConfig
from darkroom.preprocess.config import PreprocessConfig
from darkroom.robustness.config import RobustnessConfig
from darkroom.train.config import TrainConfig


class Params(Section):
    """The sections of params.yaml."""

    seed: Seed
    data: DataConfig
    preprocess: PreprocessConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    robustness: RobustnessConfig
    explain: ExplainConfig
    export: ExportConfig


def check(values: Any, source: str = str(PATH)) -> Params:
    """Validate the parsed contents of a params.yaml; raise DarkroomError with one line per error, naming `source`."""
    if not isinstance(values, dict):
        raise DarkroomError(f"{source} must hold the sections {', '.join(Params.model_fields)}, but holds {values!r}.")
    return validate(Params, values, source)


def load() -> Params:
    """Read and validate the whole of params.yaml."""
    return check(read(PATH))
