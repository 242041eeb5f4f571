import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.review import attestation, compare, ranking, result, revision, significance
from darkroom.review.compare import Review
from darkroom.review.lock import Finding, Kind
from darkroom.review.revision import WORKSPACE
from darkroom.statistics.multiple import holm
from tests import reviewed
from tests.reviewed import STRONG, WEAK


def review(old: str, new: str | None = None) -> Review:
    return compare.compare(result.read(revision.find(old)), result.read(revision.find(new) if new else WORKSPACE))


def test_a_better_model(project: Path):
    found = review("weak")
    assert (found.recipe_verdict, found.model_verdict) == ("better", "better")
    assert found.accuracies == (0.75, 0.9)
    for difference in (found.model, found.recipe):
        assert difference.value == pytest.approx(0.15) and 0 < difference.low < 0.15 < difference.high
    assert found.secondary["loss_calibrated"].value < 0
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
    worse = review("strong", "weak")
    assert (worse.recipe_verdict, worse.model_verdict) == ("worse", "worse")


def test_a_difference_within_noise(project: Path):
    reviewed.write(project, [*STRONG[:-3], False, False, False])
    found = review("strong")
    assert (found.recipe_verdict, found.model_verdict) == ("within noise", "within noise")
    assert (len(found.fixed), len(found.broken)) == (0, 3)
    assert found.recipe.detectable > 0.03


def test_other_models_of_recipes_that_cannot_be_told_apart(project: Path):
    """Ten broken predictions of 200 are significant for the models, but not beyond the noise of a retraining."""
    reviewed.write(project, [*STRONG[:-11], *[False] * 11])
    found = review("strong")
    assert (found.recipe_verdict, found.model_verdict) == ("within noise", "worse")


def test_identical_results_are_the_same(project: Path):
    found = review("strong")
    assert found.same_numbers and found.same_predictions
    assert (found.recipe_verdict, found.model_verdict) == ("the same", "the same")
    reviewed.write(project, STRONG, lr=0.2, loss_calibrated=0.4)
    found = review("strong")
    assert (found.same_numbers, found.same_predictions, found.model_verdict) == (False, True, "the same")


def test_a_change_of_documentation_is_no_change_of_inputs(project: Path):
    (project / "README.md").write_text("more")
    reviewed.commit(project, "documented")
    found = review("strong", "documented")
    assert (found.same_numbers, found.code, found.other) == (True, [], ["README.md"])


def test_secondary_metrics_are_one_family(project: Path):
    found = review("weak")
    tables = [one["label_probability"].to_numpy() for one in (found.common.old, found.common.new)]
    labels, *predicted = (
        np.searchsorted(["coat", "shirt"], values)
        for values in (found.common.labels, found.common.old["predicted"], found.common.new["predicted"])
    )
    scores = (np.where(labels == 1, one, 1 - one) for one in tables)
    alone = [
        significance.macro_f1(labels, *predicted).p,
        significance.mean(*(-np.log(one) for one in tables)).p,
        ranking.difference(labels == 1, *scores).p,  # there are two classes
    ]
    assert list(found.secondary) == ["macro_f1", "loss_calibrated", "roc_auc"]
    assert [one.p for one in found.secondary.values()] == pytest.approx(holm(np.array(alone)).tolist())


def test_a_class_that_became_worse_is_found_within_noise(project: Path):
    reviewed.write(project, [index % 50 > 0 for index in range(400)], lr=0.1)
    reviewed.commit(project, "before")
    reviewed.write(project, [index % 2 == 0 or index % 20 > 5 for index in range(400)], lr=0.2)
    worse = review("before").worse
    assert worse["classes"]["value"].tolist() == ["shirt"] and worse["slices"].empty


def test_slices_of_the_manifest_are_compared(project: Path):
    cameras = {"camera": ["old" if index < 100 else "new" for index in range(200)]}
    reviewed.write(project, [index % 20 > 0 for index in range(200)], columns=cameras)
    reviewed.commit(project, "before")
    reviewed.write(
        project, [index < 100 or (index % 20 > 0 and index % 3 > 0) for index in range(200)], 0.3, columns=cameras
    )
    found = review("before")
    assert found.slices["column"].tolist() == ["camera", "camera"]
    assert found.worse["slices"]["value"].tolist() == ["new"]


def test_groups_are_the_units_of_all_tests(project: Path):
    """All 50 examples that became incorrect are of one group."""
    groups = {"group": ["one" if index % 4 == 1 else f"single {index}" for index in range(200)]}
    for tag, correct in (("before", [True] * 200), ("after", [index % 4 != 1 for index in range(200)])):
        reviewed.write(project, correct, lr=len(tag), columns=groups)
        reviewed.commit(project, tag)
    found = review("before", "after")
    assert (found.model_verdict, found.recipe_verdict) == ("within noise", "within noise")
    assert not found.secondary["macro_f1"].significant and found.worse["classes"].empty


def test_common_examples_are_compared(project: Path):
    """Two examples are gone, one is new, a class has a new name, and one label is another."""
    reviewed.write(project, STRONG, lr=0.3)

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.replace("coat", "jacket").iloc[2:]
        table.loc[3, ["label", "predicted"]] = "jacket"
        return pd.concat([table, table.iloc[-1:].assign(id="test/new")])

    reviewed.change_predictions(project, change)
    found = review("strong")
    counts = compare.as_json(found)["examples"]
    assert counts == {"common": 198, "only_old": 2, "only_new": 1, "relabelled": 1, "renamed": {"coat": "jacket"}}
    assert found.fixed["id"].tolist() == ["test/003"] and found.broken.empty
    assert found.classes["value"].tolist() == ["jacket", "shirt"]


def test_another_machine_is_named_where_all_inputs_are_the_same(project: Path):
    reviewed.attest(project)
    reviewed.commit(project, "here")
    reviewed.relock(project, "train", outs=[])
    reviewed.change_predictions(project, lambda table: table.assign(confidence=0.8))
    attested = reviewed.attest(project)
    assert review("here").reason == "training that is not reproducible on this machine"
    machine = {**attested["machine"], "processor": "1 core"}
    reviewed.attest(project, machine=machine)
    found = review("here")
    assert "processor (1 core instead of 2 cores" in found.reason
    (project / attestation.FILE).unlink()
    assert "another machine" in review("here").reason
    reviewed.edit(project / "params.yaml", "0.2", "0.25")
    assert review("here").reason == ""


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
    assert found["verdict"] == found["recipe"]["verdict"] == found["model"]["verdict"] == "better"
    assert (found["old"]["revision"], found["new"]["commit"]) == ("weak", revision.find("strong").commit)
    assert [found[name]["value"] for name in ("recipe", "model")] == pytest.approx([0.15, 0.15])
    assert (found["worse"], found["slices"], found["same_numbers"]) == ({"classes": [], "slices": []}, [], False)
    assert found["params"] == {"train.lr": {"old": 0.1, "new": 0.2}}
    assert len(found["fixed"]) == 40
    assert found["metrics"]["new"]["metrics/evaluate.json"]["samples"] == 200
    assert found["stale"] == {"old": [], "new": []}
    assert found["seeds_stale"] == {"old": False, "new": False}
    assert found["attested"]["new"] == {"state": "none", "commit": None, "differing": [], "reason": ""}


def test_seeds_decide_about_the_recipe(project: Path):
    for tag, correct, mean in (("weak", WEAK, 0.75), ("strong", STRONG, 0.76)):
        reviewed.write(project, correct, lr=mean)
        reviewed.write_seeds(project, mean)
        reviewed.commit(project, f"{tag}-seeds")
    found = review("weak-seeds", "strong-seeds")
    assert (found.model_verdict, found.recipe_verdict) == ("better", "within noise")
    assert found.recipe.value == pytest.approx(0.01)


@pytest.mark.parametrize("recipe", [None, "000000000000"])
def test_seeds_of_another_recipe_are_not_used(project: Path, recipe: str | None):
    reviewed.write_seeds(project, 0.75)
    reviewed.commit(project, "seeds")
    numbers = {"mean": 0.9, "std": 0.01, "n": 2} | ({"recipe": recipe} if recipe else {})
    (project / "metrics/seeds.json").write_text(json.dumps(numbers))
    found = review("seeds")
    assert (found.old.seeds_stale, found.new.seeds_stale) == (False, True)
    assert found.old.seeds["mean"] == 0.75 and found.new.seeds == {}


def test_seeds_are_stale_after_a_change_of_the_recipe(project: Path):
    reviewed.write_seeds(project, 0.75)
    assert not review("strong").new.seeds_stale
    summary = Path("metrics/seeds.json")
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "seen_items": "keep"}))
    assert review("strong").new.seeds_stale  # of another ranking
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


def test_corruptions_that_only_one_side_measured_are_named(project: Path):
    assert review("weak").unshared == [] and review("weak").corruptions.empty
    for tag, severities in (("one", [1, 3]), ("other", [3, 5])):
        table = pd.DataFrame({"corruption": "fog", "severity": severities, "accuracy": 0.5})
        (project / "metrics/robustness").mkdir(exist_ok=True)
        table.to_csv(project / "metrics/robustness/corruptions.csv", index=False)
        reviewed.commit(project, tag)
    found = review("one", "other")
    assert found.corruptions["severities"].tolist() == ["3"] and found.unshared == ["fog 1", "fog 5"]
    assert review("weak", "one").unshared == []


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
    assert found.model_verdict == "the same" and not found.same_numbers
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
        (lambda project: reviewed.change_predictions(project, lambda table: table.assign(label="x")), "another label"),
        (lambda project: reviewed.change_predictions(project, lambda table: table.assign(id=table.index)), "in common"),
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
