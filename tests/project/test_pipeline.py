"""The real stages under DVC, from raw files to a bundle, on a tiny data set. Each test has a copy of the project."""

import hashlib
import json
import re
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml

from darkroom.review import lock
from darkroom.review.lock import Kind
from darkroom.review.revision import WORKSPACE
from tests import idx
from tests.repository import change, commit_all, copy_project, dvc, git, run

STAGES = ["check", "evaluate", "explain", "export", "fetch", "preprocess", "pretrained", "robustness", "train"]
KEPT = ["data/raw", "data/arrays", "models/trained", "models/bundle", "metrics"]
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
ROLES = ("train_images", "train_labels", "test_images", "test_labels")


def samples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise (n, 12, 12) with one of three bright patches, whose place is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.uint8) % 3
    images = random.integers(100, size=(n, 12, 12), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4:9, 4 * label : 4 * label + 3] += 120
    return images, labels


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a tiny data set and a short training, after `dvc repro` and a commit. Not to be changed."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    dataset = folder / "data" / "datasets" / "tiny"
    dataset.mkdir(parents=True)
    for name, array in zip(FILES, (*samples(120, 1), *samples(60, 2)), strict=True):
        idx.write(dataset / name, array)
    contents = [(dataset / name).read_bytes() for name in FILES]
    described = {
        "title": "Tiny",
        "licence": "CC0",
        "homepage": "https://example.org",
        "format": "idx",
        "classes": ["left", "middle", "right"],
        "augmentation": {"flip": False, "shift": 0},
        "files": [
            {"role": role, "name": name, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            for role, name, raw in zip(ROLES, FILES, contents, strict=True)
        ],
    }
    (dataset / "dataset.yaml").write_text(yaml.safe_dump(described))
    short = {"epochs": 6, "batch_size": 24, "min_steps": 0, "lr": 0.02}
    change(folder, data={"dataset": "tiny"}, train=short, model={"name": "cnn"})
    int8 = {"calibration_samples": 60, "max_accuracy_drop": 0.5, "min_agreement": 0.5, "min_speedup": 0.0}
    change(folder, export={"int8": int8})
    commit_all(folder)
    ran, _ = dvc(folder, "repro")
    assert sorted(ran) == STAGES
    commit_all(folder)
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project that a test may change."""
    return shutil.copytree(built, tmp_path / "project", symlinks=True)


def outputs(folder: Path) -> dict[str, str]:
    """The digests of all that the pipeline left, except the costs."""
    files = [
        file for kept in KEPT for file in (folder / kept).rglob("*") if file.is_file() and "cost" not in file.parts
    ]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def numbers(folder: Path, name: str) -> dict:
    return json.loads((folder / f"metrics/{name}.json").read_text())


def test_one_command_leads_from_raw_files_to_a_classifier(built: Path):
    evaluated = numbers(built, "evaluate")
    assert evaluated["accuracy"] > 0.9
    assert evaluated["accuracy_low"] < evaluated["accuracy"] <= evaluated["accuracy_high"]
    assert {"loss", "macro_f1", "expected_calibration_error", "abstention_threshold"} <= set(evaluated)
    assert {"epochs", "best_epoch", "val_accuracy", "parameters"} <= set(numbers(built, "train"))
    assert 0.3 < numbers(built, "robustness")["mean_accuracy"] < evaluated["accuracy"]
    exported = numbers(built, "export")
    assert exported["max_abs_difference"] < 1e-3
    assert exported["size_mb"] > 0
    for stage in set(STAGES) - {"check"}:
        assert {"seconds", "peak_memory_mb"} <= set(numbers(built, f"cost/{stage}"))

    predictions = pd.read_csv(built / "metrics/predictions.csv")
    images, labels = samples(60, 2)
    session = onnxruntime.InferenceSession(built / "models/bundle/model.onnx")
    probabilities = session.run(["probabilities"], {"images": images[..., None]})[0]
    classes = np.array(["left", "middle", "right"])
    assert predictions["label"].tolist() == classes[labels].tolist()
    assert predictions["predicted"].tolist() == classes[probabilities.argmax(1)].tolist()
    assert np.allclose(predictions["confidence"], probabilities.max(1), atol=1e-4)
    assert (predictions["label"] == predictions["predicted"]).mean() == evaluated["accuracy"]
    tracked = git(built, "ls-files").split()
    assert not [path for path in tracked if path.startswith(("data/raw", "data/arrays", "data/checked", "models"))]


def test_metrics_have_flat_keys_without_spaces(built: Path):
    for path in (built / "metrics").rglob("*.json"):
        for key, value in json.loads(path.read_text()).items():
            assert key.replace("_", "").isalnum() and not isinstance(value, dict | list), (path, key)


def test_two_runs_leave_the_same_bits_and_a_third_runs_nothing(project: Path):
    def locked() -> dict[str, str]:
        stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"].values()
        return {out["path"]: out["md5"] for stage in stages for out in lock.repeatable_outputs(stage)}

    before, left = locked(), outputs(project)
    assert sorted(dvc(project, "repro", "--force")[0]) == STAGES
    assert locked() == before
    assert outputs(project) == left
    assert dvc(project, "repro")[0] == []


def test_seeds_are_trained_once_and_leave_the_status_clean(project: Path):
    def seeds(*arguments: str) -> list[str]:
        done = run(project, sys.executable, "-m", "darkroom.seeds", *arguments)
        assert done.returncode == 0, done.stderr
        return sorted({line.split(",")[0] for line in done.stdout.splitlines() if re.match(r"seed \d+, epoch", line)})

    assert seeds("1", "2") == ["seed 1", "seed 2"]
    assert seeds("1", "2", "3") == ["seed 3"]
    accuracies = [numbers(project, f"seeds/{seed}")["accuracy"] for seed in (1, 2, 3)]
    found = numbers(project, "seeds")
    assert (found["n"], found["mean"]) == (3, pytest.approx(statistics.mean(accuracies)))
    assert found["std"] == pytest.approx(statistics.stdev(accuracies))
    assert dvc(project, "repro")[0] == []
    change(project, evaluate={"top_k": 2})
    assert "seeds" not in dvc(project, "status")[1]


def test_an_edit_of_any_tracked_output_is_found(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    assert lock.mismatches(WORKSPACE) == []
    outs = {
        out["path"]: name
        for name, stage in lock.stages(WORKSPACE).items()
        for out in stage["outs"]
        if out["path"].startswith("metrics")
    }
    for path, name in outs.items():
        for edited in [path] if Path(path).is_file() else WORKSPACE.files(path):
            contents = Path(edited).read_bytes()
            Path(edited).write_bytes(contents + b" ")
            found = {(finding.kind, finding.stage, finding.path) for finding in lock.mismatches(WORKSPACE)}
            assert (Kind.OUTPUT_CHANGED, name, path) in found
            assert found <= {(Kind.OUTPUT_CHANGED, name, path), (Kind.DEPENDENCY_CHANGED, "export", edited)}
            Path(edited).write_bytes(contents)


def test_an_experiment_reruns_what_must_rerun_and_going_back_retrains_nothing(project: Path):
    ran, _ = dvc(project, "exp", "run", "-S", "evaluate.test_time_flip=true")
    assert ran == ["check", "evaluate", "export"]
    assert 0 <= numbers(project, "evaluate")["accuracy_test_time_flip"] <= 1
    assert dvc(project, "exp", "run", "-S", "train.lr=1e-4")[0][:2] == ["check", "train"]
    diff = json.loads(dvc(project, "metrics", "diff", "--json")[1].splitlines()[0])  # warnings may follow
    assert diff["metrics/evaluate.json"]["accuracy"]["diff"] != 0
    assert "metrics/cost/train.json" in diff

    git(project, "checkout", "--", "params.yaml")
    assert set(dvc(project, "repro")[0]) <= {"check"}
    results = ("train.json", "evaluate.json", "predictions.csv", "cost/train.json")
    kept = ("dvc.lock", *(f"metrics/{name}" for name in results))
    assert git(project, "status", "--porcelain", *kept) == ""


def test_the_section_of_another_network_retrains_nothing(project: Path):
    change(project, model={"vit": {"embed_dim": 64, "depth": 1, "heads": 4, "mlp_ratio": 2.0, "dropout": 0.0}})
    assert dvc(project, "repro")[0] == ["check"]


def test_weights_and_data_of_another_name_rerun_only_the_stages_that_read_them(project: Path):
    contents = (project / "models/trained/model.safetensors").read_bytes()
    described = {
        "title": "Own",
        "family": "cnn",
        "file": "own.safetensors",
        "bytes": len(contents),
        "sha256": hashlib.sha256(contents).hexdigest(),
        "image_size": 12,
        "mean": [0.5],
        "std": [0.5],
    }
    folder = project / "data/pretrained/own"
    folder.mkdir()
    (folder / "own.safetensors").write_bytes(contents)
    (folder / "weights.yaml").write_text(yaml.safe_dump(described))
    change(project, model={"pretrained": "own"})
    assert dvc(project, "repro", "preprocess")[0] == ["check"]
    assert dvc(project, "repro", "pretrained")[0] == ["pretrained"]

    shutil.copytree(project / "data/datasets/tiny", project / "data/datasets/other")
    change(project, data={"dataset": "other"})
    assert dvc(project, "repro", "pretrained")[0] == ["check"]
    assert dvc(project, "repro", "fetch")[0] == ["fetch"]


@pytest.mark.parametrize(
    ("sections", "cause"),
    [
        ({"train": {"lr": 1e9, "optimizer": "sgd", "schedule": "constant"}}, "diverged"),
        ({"train": {"epoch": 3}}, "train.epochs"),
        ({"train": {"threads": 1024}}, "train.threads = 1024"),
        ({"explain": {"images_per_kind": 0}}, "explain.images_per_kind"),
        ({"data": {"dataset": "tini"}}, "did you mean tiny?"),
        ({"data": {"dataset": "tiny/"}}, "data.dataset"),
    ],
)
def test_a_failing_stage_names_the_cause_and_loses_nothing(project: Path, sections: dict, cause: str):
    left = outputs(project)
    change(project, **sections)
    assert cause in dvc(project, "repro", code=255)[1]
    assert outputs(project) == left
    git(project, "checkout", "--", "params.yaml")
    assert set(dvc(project, "repro")[0]) <= {"check"}


def test_a_failing_stage_of_a_fresh_clone_loses_nothing(built: Path, tmp_path: Path):
    clone = tmp_path / "clone"
    git(built, "clone", "--quiet", ".", str(clone))
    change(clone, train={"lr": 1e9, "optimizer": "sgd", "schedule": "constant"})
    printed = dvc(clone, "repro", code=255)[1]
    assert "diverged" in printed
    assert (clone / "data/arrays").is_dir()
    changed = {line.split()[1] for line in git(clone, "status", "--porcelain").splitlines()}
    assert {path for path in changed if "cost" not in path} <= {"params.yaml", "dvc.lock"}


def test_ctrl_c_while_libraries_load_loses_nothing(project: Path):
    left = outputs(project)
    change(project, train={"lr": 0.01})
    shim = project / "torch.py"  # found before the real one
    shim.write_text("raise KeyboardInterrupt")
    assert "exited with 130" in dvc(project, "repro", code=255)[1]
    assert outputs(project) == left
    shim.unlink()
    git(project, "checkout", "--", "params.yaml")
    assert set(dvc(project, "repro")[0]) <= {"check"}


def test_an_altered_raw_file_is_refused_and_loses_nothing(project: Path):
    left = outputs(project)
    file = project / "data/datasets/tiny" / FILES[0]
    contents = file.read_bytes()
    file.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    assert FILES[0] in dvc(project, "repro", code=255)[1]
    assert outputs(project) == left
    file.write_bytes(contents)
    assert dvc(project, "repro")[0] == []


def test_a_student_of_a_kept_teacher_retrains_and_its_card_and_review_name_the_teacher(project: Path):
    def keep(*arguments: str) -> tuple[int, str]:
        done = run(project, sys.executable, "-m", "darkroom.teacher", "keep", *arguments)
        return done.returncode, done.stdout + done.stderr

    code, printed = keep("big")
    assert code == 0 and "dvc add data/teachers/big" in printed
    kept = json.loads((project / "data/teachers/big/teacher.json").read_text())
    assert kept["accuracy"] == numbers(project, "evaluate")["accuracy"]
    assert kept["networks"][0]["commit"] == git(project, "rev-parse", "HEAD").strip()
    assert git(project, "status", "--porcelain") == ""  # git ignores the weights
    dvc(project, "add", "data/teachers/big")
    untracked = git(project, "status", "--porcelain", "--untracked-files=all").split()[1::2]
    assert untracked == ["data/teachers/.gitignore", "data/teachers/big.dvc"]

    ran, _ = dvc(project, "exp", "run", "-S", "train.distill.teacher=big")
    assert sorted(ran) == ["check", "evaluate", "explain", "export", "robustness", "train"]
    assert "teacher big" in (project / "models/bundle/README.md").read_text()
    review = run(project, sys.executable, "-m", "darkroom.review", "HEAD").stdout
    assert "learned from the teacher `big` too" in review and "| accuracy of the teacher |" in review
    assert "Caution" not in review
    assert dvc(project, "repro")[0] == []
    git(project, "add", "."), git(project, "commit", "--quiet", "-m", "A student")

    left, weights = outputs(project), project / "data/teachers/big/1.safetensors"
    contents = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    assert "1.safetensors has the SHA-256" in dvc(project, "repro", code=255)[1]
    assert outputs(project) == left and weights.exists()
    model = project / "models/trained/model.json"
    model.unlink()
    model.write_text("{}")
    assert keep("other")[0] == 1 and not (project / "data/teachers/other").exists()
