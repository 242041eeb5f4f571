import json
from pathlib import Path

import pytest

from darkroom.review import compare, more_labels, page, result
from darkroom.review.lock import recipe
from darkroom.review.revision import WORKSPACE, find
from tests import reviewed

DIGEST = f"{'1' * 32}.dir"
EXPECTED = {"labels": 2000, "accuracy": 0.941, "low": 0.936, "high": 0.945}


def write_curve(folder: Path, **changes: object) -> None:
    """Write a learning curve of the data and the recipe in dvc.lock, with these changes of its fields."""
    reviewed.relock(folder, "train", deps=[{"path": more_labels.DATA, "md5": DIGEST}])
    curve = {"recipe": recipe(WORKSPACE), "data_md5": DIGEST, "expected": {"2": EXPECTED}, **changes}
    (folder / more_labels.FILE).write_text(json.dumps(curve))


def text(new: str = "") -> str:
    return page.markdown(compare.compare(*map(result.read, (find("weak"), find(new) if new else WORKSPACE))))


def test_the_review_cites_the_learning_curve_of_the_same_data(project: Path):
    assert more_labels.find(WORKSPACE) is None and "More labels" not in text()
    write_curve(project)
    assert more_labels.find(WORKSPACE) == more_labels.MoreLabels("accuracy", **EXPECTED, same_recipe=True)
    (line,) = [line for line in text().splitlines() if "More labels" in line]
    assert all(fact in line for fact in ("(2,000)", "94.10 %", "93.60 % to 94.50 %"))
    assert "another recipe" not in line
    reviewed.commit(project, "measured")
    assert line.replace("the workspace", "measured") in text("measured")
    found = compare.compare(result.read(find("weak")), result.read(WORKSPACE))
    assert compare.as_json(found)["more_labels"] == {"measure": "accuracy", **EXPECTED, "same_recipe": True}
    assert compare.as_json(compare.compare(*[result.read(find("weak"))] * 2))["more_labels"] is None


def test_a_curve_of_hits_is_read_too(project: Path):
    expected = {"labels": 2000, "hr_at_10": 0.25, "low": 0.2, "high": 0.3}
    write_curve(project, expected={"2": expected})
    assert more_labels.find(WORKSPACE) == more_labels.MoreLabels("HR@10", 2000, 0.25, 0.2, 0.3, same_recipe=True)
    assert "a validation HR@10 of 25.00 %" in text()


def test_a_curve_of_another_recipe_is_named(project: Path):
    write_curve(project, recipe=None)
    assert "measured with another recipe on the same data" in text()


@pytest.mark.parametrize(
    "changes",
    [{"data_md5": f"{'2' * 32}.dir"}, {"data_md5": None}, {"expected": {}}, {"expected": {"2": {"low": "?"}}}],
)
def test_a_curve_of_other_data_or_a_broken_one_is_left_out(project: Path, changes: dict):
    write_curve(project, **changes)
    assert more_labels.find(WORKSPACE) is None
    assert "More labels" not in text()
