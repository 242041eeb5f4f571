from pathlib import Path

import pytest
import yaml

from darkroom.core.errors import DarkroomError
from darkroom.review import digests, lock, revision
from darkroom.review.lock import Finding, Kind
from darkroom.review.revision import WORKSPACE
from tests import reviewed
from tests.repository import commit_all, git


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    reviewed.write(tmp_path, [True, False])
    commit_all(tmp_path)
    return tmp_path


def found(name: str | None = None) -> list[tuple[str, str, str]]:
    side = revision.find(name) if name else WORKSPACE
    return [(finding.kind, finding.stage, finding.path) for finding in lock.mismatches(side)]


def declare(project: Path, stage: str, **keys: object) -> None:
    """Replace keys of a stage in dvc.yaml."""
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
    pipeline["stages"].setdefault(stage, {}).update(keys)
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline))


def test_a_current_lock_has_no_mismatch(project: Path):
    assert found() == found("HEAD") == []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("metrics/evaluate.json", "{}", ("output_changed", "evaluate", "metrics/evaluate.json")),
        ("metrics/predictions.csv", None, ("output_missing", "evaluate", "metrics/predictions.csv")),
        ("darkroom/evaluate.py", "# other", ("dependency_changed", "evaluate", "darkroom/evaluate.py")),
        ("darkroom/evaluate.py", None, ("dependency_missing", "evaluate", "darkroom/evaluate.py")),
        ("darkroom/train/net.py", "# other", ("dependency_changed", "train", "darkroom/train")),
        ("darkroom/train/loop.py", None, ("dependency_changed", "train", "darkroom/train")),
        ("darkroom/train/sub/new.py", "", ("dependency_changed", "train", "darkroom/train")),
        ("params.yaml", "seed: 1\ntrain: {lr: 0.2}", ("param_changed", "train", "train")),
        ("params.yaml", "seed: 1", ("param_changed", "train", "train")),
    ],
)
def test_each_change_of_a_file_is_found_in_the_workspace_and_in_a_commit(
    project: Path, path: str, text: str | None, expected: tuple
):
    if text is None:
        (project / path).unlink()
    else:
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(text)
    assert found() == [expected]
    commit_all(project)
    assert found("HEAD") == [expected]
    assert found("HEAD~1") == []


@pytest.mark.parametrize(
    ("stage", "keys", "expected"),
    [
        ("evaluate", {"cmd": "other"}, ("command_changed", "evaluate", "")),
        ("evaluate", {"deps": ["stages/new.py"]}, ("new_dependency", "evaluate", "stages/new.py")),
        ("evaluate", {"params": ["seed"]}, ("new_param", "evaluate", "seed")),
        ("evaluate", {"params": [{"other.yaml": ["a.b"]}]}, ("new_param", "evaluate", "a.b")),
        (
            "evaluate",
            {"metrics": [{"metrics/new.json": {"cache": False}}]},
            ("new_output", "evaluate", "metrics/new.json"),
        ),
        ("export", {"cmd": "none"}, ("never_run", "export", "")),
    ],
)
def test_each_change_of_the_pipeline_is_found(project: Path, stage: str, keys: dict, expected: tuple):
    (project / "other.yaml").write_text("a: {b: 1}")
    declare(project, stage, **keys)
    assert found() == [expected]


def test_a_deleted_folder_is_found(project: Path):
    git(project, "rm", "--quiet", "-r", "darkroom/train")
    assert found() == [("dependency_missing", "train", "darkroom/train")]
    commit_all(project)
    assert found("HEAD") == [("dependency_missing", "train", "darkroom/train")]


def test_dotted_keys_are_compared(project: Path):
    declare(project, "train", params=["seed", "train.lr"])
    reviewed.relock(project, "train", params={"params.yaml": {"seed": 1, "train.lr": 0.1}})
    assert found() == []
    (project / "params.yaml").write_text("seed: 1\ntrain: {lr: 0.1, epochs: 3}")
    assert found() == []
    (project / "params.yaml").write_text("seed: 1\ntrain: {lr: 0.3}")
    assert found() == [("param_changed", "train", "train.lr")]


def test_templates_are_resolved_by_params_yaml(project: Path):
    """As in `model.${model.name}`: only the parameters of the chosen model matter."""
    declare(project, "train", cmd="run ${model.name}", params=["model.${model.name}"], deps=["darkroom/${model.name}"])
    params = {"params.yaml": {"model.a": {"x": 1}}}
    (project / "darkroom/a").write_text("")
    reviewed.relock(project, "train", cmd="run a", params=params, deps=[reviewed.entry("darkroom/a")])
    text = "{seed: 1, train: {lr: 0.1}, model: {name: %s, a: {x: %d}, b: {x: %d}}}"
    (project / "params.yaml").write_text(text % ("a", 1, 5))
    assert found() == []
    (project / "params.yaml").write_text(text % ("a", 2, 5))
    assert found() == [("param_changed", "train", "model.a")]
    (project / "params.yaml").write_text(text % ("b", 1, 5))
    assert found() == [
        ("command_changed", "train", ""),
        ("new_dependency", "train", "darkroom/b"),
        ("new_param", "train", "model.b"),
    ]


def test_unresolved_templates_and_generated_stages_are_left_to_dvc(project: Path):
    declare(project, "evaluate", cmd="run ${x}", deps=["${x}"], metrics=[{"${x}": {"cache": False}}], params=["${x}"])
    declare(project, "each", foreach=[1, 2], do={"cmd": "run ${item}"})
    assert found() == []


def test_small_numbers_are_read_as_dvc_writes_them(project: Path):
    """Without a dot, which safe_load reads as text; a digest that looks like a number stays a text."""
    reviewed.write(project, [True, False], lr=5e-05)
    reviewed.relock(project, "train", extra="1234e567")
    reviewed.edit(project / "dvc.lock", "1234e567", "'1234e567'")
    reviewed.edit(project / "dvc.lock", "5.0e-05", "5e-05")
    (project / "params.yaml").write_text("seed: 1\ntrain: {lr: 5e-05}")
    assert found() == []
    assert lock.stages(WORKSPACE)["train"]["extra"] == "1234e567"


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("outs: [{md5: 1.dir, path: data}]", []),
        ("outs: [{md5: 2.dir, path: data}]", [("dependency_changed", "evaluate", "data")]),
    ],
)
def test_what_dvc_add_tracks_is_compared(project: Path, added: str, expected: list):
    reviewed.add_dep(project, "evaluate", "data", md5="1.dir", nfiles=9)
    (project / "data.dvc").write_text(added)
    assert found() == expected


def add_images(project: Path, folder: str, ignored: str = "") -> None:
    """A folder of three files that evaluate reads, of which git has those that are not `ignored`; committed as HEAD."""
    (project / folder).mkdir(parents=True)
    for name in ("a.png", "b.png", "dataset.yaml"):
        (project / folder / name).write_text(name)
    (project / ".gitignore").write_text(ignored)
    reviewed.add_dep(project, "evaluate", folder, md5=digests.digest(WORKSPACE, folder), nfiles=3)
    commit_all(project)


@pytest.mark.parametrize("folder", ["data/baselines", "data/datasets/own"])
@pytest.mark.parametrize("name", ["a.png", "c.png"])
def test_data_in_git_are_compared(project: Path, folder: str, name: str):
    add_images(project, folder)
    assert found() == found("HEAD") == []
    (project / folder / name).write_text("other")
    expected = [("dependency_changed", "evaluate", folder)]
    assert found() == expected
    commit_all(project)
    assert (found("HEAD"), found("HEAD~1")) == (expected, [])


@pytest.mark.parametrize("ignored", ["/data/datasets/own", "*.png"])
def test_images_that_git_does_not_have_are_not_read(project: Path, monkeypatch: pytest.MonkeyPatch, ignored: str):
    """They may be many; whether they changed is DVC's task, also if git has a dataset.yaml beside them."""
    add_images(project, "data/datasets/own", ignored)
    opened, file_digest = [], digests._file_digest
    monkeypatch.setattr(digests, "_file_digest", lambda side, path: opened.append(path) or file_digest(side, path))
    assert found("HEAD") == found() == []
    assert "darkroom/evaluate.py" in opened and not any(path.endswith(".png") for path in opened)


def test_raw_files_in_a_built_in_data_set_do_not_count(project: Path):
    (project / ".dvcignore").write_text("/data/datasets/mnist/*\n!/data/datasets/*/dataset.yaml\n!*.csv\n")
    (project / ".gitignore").write_text("*.gz")
    (project / "data/datasets/mnist").mkdir(parents=True)
    for name in ("dataset.yaml", "labels.csv", "raw.gz"):
        (project / "data/datasets/mnist" / name).write_text(name)
    digest = digests.digest(WORKSPACE, "data/datasets/mnist")
    reviewed.add_dep(project, "train", "data/datasets/mnist", md5=digest, nfiles=2)
    commit_all(project)
    assert found() == found("HEAD") == []
    (project / "data/datasets/mnist/raw.gz").write_text("other")
    assert found() == []
    (project / "data/datasets/mnist/labels.csv").unlink()
    assert found() == [("dependency_changed", "train", "data/datasets/mnist")]


def test_a_stage_that_read_what_no_stage_wrote_is_found(project: Path):
    """As after `dvc repro train`, when evaluate still has the earlier weights."""
    locked = yaml.safe_load((project / "dvc.lock").read_text())
    locked["stages"]["train"]["outs"][0]["md5"] = "1.dir"
    (project / "dvc.lock").write_text(yaml.safe_dump(locked))
    assert found() == [("dependency_changed", "evaluate", reviewed.WEIGHTS)]


@pytest.mark.parametrize("path", ["dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("contents", ["a: [", None])
def test_broken_or_missing_yaml_is_refused(project: Path, path: str, contents: str | None):
    (project / path).unlink()
    if contents:
        (project / path).write_text(contents)
    with pytest.raises(DarkroomError, match=f"{path} of the workspace"):
        lock.mismatches(WORKSPACE)


@pytest.mark.parametrize("contents", [None, b"a: [", b"{}", b"\xff"])
def test_a_missing_or_broken_lock_is_refused(project: Path, contents: bytes | None):
    (project / "dvc.lock").unlink()
    if contents is not None:
        (project / "dvc.lock").write_bytes(contents)
    for check in (lock.mismatches, lock.recipe, lock.require_current_recipe):
        with pytest.raises(DarkroomError, match=r"dvc\.lock"):
            check(WORKSPACE)


def test_every_kind_has_a_sentence_that_names_stage_and_path():
    for kind in Kind:
        assert "train" in str(Finding(kind, "train", "a/b"))


def test_stages_with_the_same_finding_are_grouped():
    findings = [Finding(Kind.DEPENDENCY_CHANGED, stage, "core") for stage in ("train", "export")]
    findings.insert(1, Finding(Kind.OUTPUT_CHANGED, "train", "core"))
    grouped = [(finding.kind, finding.stage) for finding in lock.grouped(findings)]
    assert grouped == [("dependency_changed", "train and export"), ("output_changed", "train")]


def test_the_recipe_is_what_determined_the_training_but_the_seed(project: Path):
    before = lock.recipe(WORKSPACE)
    assert before == lock.recipe(revision.find("HEAD"))
    recipes = {before}
    (project / "params.yaml").write_text("seed: 2\ntrain: {lr: 0.1}")
    (project / "darkroom/evaluate.py").write_text("# other")
    reviewed.lock(project)
    assert lock.recipe(WORKSPACE) == before
    for path, text in (("darkroom/train/net.py", "# other"), ("params.yaml", "seed: 1\ntrain: {lr: 0.2}")):
        (project / path).write_text(text)
        reviewed.lock(project)
        recipes.add(lock.recipe(WORKSPACE))
    reviewed.relock(project, "train", cmd="other")
    recipes.add(lock.recipe(WORKSPACE))
    assert len(recipes) == 4


def test_a_recipe_must_be_current_up_to_the_training(project: Path):
    assert lock.require_current_recipe(WORKSPACE) == lock.recipe(WORKSPACE)
    (project / "darkroom/evaluate.py").write_text("# other")
    assert lock.require_current_recipe(WORKSPACE) == lock.recipe(WORKSPACE)
    (project / "darkroom/train/net.py").write_text("# other")
    with pytest.raises(DarkroomError, match="darkroom/train"):
        lock.require_current_recipe(WORKSPACE)


def test_the_data_of_a_recipe_must_be_those_of_the_lock(project: Path):
    """After `git checkout` without `dvc checkout` they are another revision's."""
    (project / "data/arrays").mkdir(parents=True)
    (project / "data/arrays/train").write_text("1")
    (project / ".gitignore").write_text("/data/arrays")
    made = {**reviewed.entry("data/arrays"), "nfiles": 1}
    declare(project, "preprocess", cmd="none", outs=["data/arrays"])
    reviewed.relock(project, "preprocess", cmd="none", outs=[made])
    reviewed.add_dep(project, "train", "data/arrays", md5=made["md5"], nfiles=1)
    assert lock.require_current_recipe(WORKSPACE) == lock.recipe(WORKSPACE)
    (project / "data/arrays/train").write_text("2")
    assert found() == []
    with pytest.raises(DarkroomError, match="data/arrays"):
        lock.require_current_recipe(WORKSPACE)
    declare(project, "preprocess", cmd="other")
    with pytest.raises(DarkroomError, match="preprocess"):
        lock.require_current_recipe(WORKSPACE)
