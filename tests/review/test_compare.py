import json
from pathlib import Path

import pandas as pd
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.review import attestation, compare, result, revision
from darkroom.review.compare import Review
from darkroom.review.lock import Finding, Kind
from darkroom.review.revision import WORKSPACE
from tests import reviewed
from tests.reviewed import STRONG, WEAK


def review(old: str, new: str | None = None) -> Review:
    return compare.compare(result.read(revision.find(old)), result.read(revision.find(new) if new else WORKSPACE))


def test_a_better_model(project: Path):
    found = review("weak")
    assert (found.verdict, found.method) == ("better", "unknown")
    difference = found.differences["accuracy"]
    assert difference.value == pytest.approx(0.15) and 0 < difference.low < 0.15 < difference.high
    assert found.differences["loss_calibrated"].value < 0
    assert (len(found.fixed), len(found.broken)) == (40, 10)
    assert found.fixed.loc[0].to_dict() == {
        "id": "test/004",
        "label": "coat",
        "old": "shirt",
        "new": "coat",
        "confidence": 0.75,
    }
    assert found.classes["examples"].tolist() == [100, 100]
    assert found.code == ["darkroom/train/net.py"]
    assert (found.old.stale, found.new.stale) == ([], [])
    assert review("strong", "weak").verdict == "worse"


def test_a_difference_within_noise(project: Path):
    reviewed.write(project, [*STRONG[:-3], False, False, False])
    found = review("strong")
    assert found.verdict == "within noise"
    assert (len(found.fixed), len(found.broken)) == (0, 3)


def test_data_requirements_and_untracked_code_count_as_code(project: Path):
    paths = ["data/baselines/toy.csv", "requirements/torch.txt", "stages/new.py"]
    for path in (*paths, "notes.txt"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("new")
    assert review("strong").code == ["data/", "requirements/", "stages/"]
    reviewed.commit(project, "added")
    assert review("strong", "added").code == paths
    (project / "stages/newer.py").touch()
    assert review("added").code == ["stages/newer.py"]


def test_the_json_is_complete_and_plain(project: Path):
    found = json.loads(json.dumps(compare.as_json(review("weak", "strong"))))
    assert (found["verdict"], found["method"], found["over_seeds"]) == ("better", "unknown", None)
    assert (found["old"]["revision"], found["new"]["commit"]) == ("weak", revision.find("strong").commit)
    assert found["differences"]["accuracy"]["value"] == pytest.approx(0.15)
    assert found["params"] == {"train.lr": {"old": 0.1, "new": 0.2}}
    assert len(found["fixed"]) == 40
    assert found["metrics"]["new"]["metrics/evaluate.json"]["samples"] == 200
    assert found["stale"] == {"old": [], "new": []}
    assert found["seeds_stale"] == {"old": False, "new": False}
    assert found["attested"]["new"] == {"state": "none", "commit": None, "differing": [], "reason": ""}


def test_seeds_decide_about_the_method(project: Path):
    for tag, correct, mean in (("weak", WEAK, 0.75), ("strong", STRONG, 0.76)):
        reviewed.write(project, correct, lr=mean)
        reviewed.write_seeds(project, mean)
        reviewed.commit(project, f"{tag}-seeds")
    found = review("weak-seeds", "strong-seeds")
    assert (found.verdict, found.method) == ("better", "within noise")
    assert found.over_seeds.value == pytest.approx(0.01)
    assert review("weak", "weak-seeds").method == "unknown"


@pytest.mark.parametrize("recipe", [None, "000000000000"])
def test_seeds_of_another_recipe_are_not_used(project: Path, recipe: str | None):
    reviewed.write_seeds(project, 0.75)
    reviewed.commit(project, "seeds")
    numbers = {"mean": 0.9, "std": 0.01, "n": 2} | ({"recipe": recipe} if recipe else {})
    (project / "metrics/seeds.json").write_text(json.dumps(numbers))
    found = review("seeds")
    assert (found.method, found.over_seeds) == ("unknown", None)
    assert (found.old.seeds_stale, found.new.seeds_stale) == (False, True)
    assert found.old.seeds["mean"] == 0.75 and found.new.seeds == {}


def test_seeds_are_stale_after_a_change_of_the_recipe(project: Path):
    reviewed.write_seeds(project, 0.75)
    assert not review("strong").new.seeds_stale
    reviewed.write(project, STRONG, lr=0.3)
    assert review("strong").new.seeds_stale


def test_an_edited_metric_is_found(project: Path):
    reviewed.edit(project / "metrics/evaluate.json", "0.01", "0.001")
    expected = Finding(Kind.OUTPUT_CHANGED, "evaluate", "metrics/evaluate.json")
    found = review("strong")
    assert (found.old.stale, found.new.stale) == ([], [expected])
    assert compare.as_json(found)["stale"]["new"] == [
        {"kind": "output_changed", "stage": "evaluate", "path": "metrics/evaluate.json"}
    ]


def test_corruptions_are_compared_over_the_severities_that_both_have(project: Path):
    def write(*rows: tuple[str, int, float]) -> None:
        table = pd.DataFrame(rows, columns=["corruption", "severity", "accuracy"])
        (project / "metrics/robustness").mkdir(exist_ok=True)
        table.to_csv(project / "metrics/robustness/corruptions.csv", index=False)

    write(("fog", 1, 0.5), ("fog", 3, 0.4), ("snow", 1, 0.25))
    reviewed.commit(project, "corrupted")
    write(("fog", 1, 0.75), ("fog", 3, 0.55), ("fog", 5, 0.1))
    rows = review("corrupted").corruptions.to_dict("records")
    assert rows == [{"corruption": "fog", "old": pytest.approx(0.45), "new": pytest.approx(0.65)}]
    assert review("weak").corruptions.empty


def test_an_old_revision_with_nested_keys_is_compared(project: Path):
    """Numbers that only one side has are absent."""
    old = {"accuracy": 0.9, "samples": 200, "calibration": {"after": {"ece": 0.02}}}
    (project / "metrics/evaluate.json").write_text(json.dumps(old))
    (project / "metrics/explain.json").write_text('{"Grad-CAM": {"deletion": 0.5}}')
    (project / "metrics/export.json").write_text('{"int8": {"published": false, "reason": "it is too slow"}}')
    reviewed.lock(project)
    reviewed.commit(project, "nested")
    reviewed.write(project, STRONG)
    found = review("nested")
    assert found.verdict == "within noise"
    assert found.old.result.metrics["metrics/evaluate.json"]["calibration.after.ece"] == 0.02


def test_attestations_are_judged_on_both_sides(project: Path):
    reviewed.attest(project)
    reviewed.commit(project, "attested")
    reviewed.write(project, WEAK)
    found = review("attested")
    assert [side.attested.state for side in (found.old, found.new)] == ["reproduced", "other_lock"]
    (project / attestation.FILE).write_text("{}")
    assert review("attested").new.attested.state == "invalid"


def edited(path: str, old: str, new: str):
    return lambda project: reviewed.edit(project / path, old, new)


@pytest.mark.parametrize(
    ("spoil", "fact"),
    [
        (lambda project: reviewed.write(project, STRONG[:-1]), "test/199"),
        (lambda project: reviewed.write(project, STRONG, labels=["coat"] * 200), "test/001"),
        (lambda project: (project / "metrics/evaluate.json").unlink(), "metrics/evaluate.json"),
        (lambda project: (project / "metrics/predictions.csv").unlink(), "metrics/predictions.csv"),
        (edited("metrics/evaluate.json", '"accuracy": 0.9', '"accuracy": 0.95'), "0.95"),
        (edited("metrics/evaluate.json", "0.01", "NaN"), "expected_calibration_error = nan"),
        (edited("metrics/evaluate.json", "0.01", '"low"'), "expected_calibration_error = low"),
        (lambda project: (project / "metrics/preprocess.json").write_text('{"test": 12}'), "12 test examples"),
        (lambda project: (project / "metrics/seeds.json").write_text('{"mean": 0.5}'), "metrics/seeds.json"),
        (edited("metrics/evaluate.json", "{", "["), "metrics/evaluate.json"),
        (edited("metrics/predictions.csv", "test/001", "test/000"), "test/000"),
        (edited("metrics/predictions.csv", "test/199,shirt,shirt,0.75,0.75", "test/199,shirt"), "predictions.csv"),
        (edited("metrics/predictions.csv", "test/199,shirt,shirt,0.75", "test/199,shirt,shirt,sure"), "'sure'"),
        (edited("metrics/predictions.csv", "predicted", "said"), "predicted"),
    ],
)
def test_what_cannot_be_compared_is_refused(project: Path, spoil, fact: str):
    spoil(project)
    with pytest.raises(DarkroomError, match=fact):
        review("strong")
