import json
from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.review import result
from darkroom.review.revision import WORKSPACE


def test_names_of_methods_and_reasons_are_texts(project: Path):
    values = {"most_faithful_insertion": "grad_cam", "most_faithful_deletion": None, "grad_cam_insertion": 0.5}
    (project / "metrics/explain.json").write_text(json.dumps(values))
    assert result.read(WORKSPACE).metrics["metrics/explain.json"] == values


@pytest.mark.parametrize("values", [{"grad_cam_insertion": "high"}, {"accuracy": float("inf")}])
def test_other_values_must_be_finite_numbers(project: Path, values: dict):
    (project / "metrics/explain.json").write_text(json.dumps(values))
    with pytest.raises(DarkroomError, match=next(iter(values))):
        result.read(WORKSPACE)
