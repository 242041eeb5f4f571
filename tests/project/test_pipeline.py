"""The real stages under DVC, from raw files to a bundle, on a tiny dataset in a repository of its own.

The tests build on each other, in the order in which they stand.
"""

import hashlib
import json
import statistics
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml

from darkroom.review import lock
from darkroom.review.revision import WORKSPACE
from tests import idx
from tests.repository import change, commit_all, copy_project, dvc, git

STAGES = ["evaluate", "explain", "export", "fetch", "preprocess", "robustness", "train"]
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
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a tiny dataset and a short training."""
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
    change(folder, data={"dataset": "tiny"}, train={"epochs": 6, "batch_size": 24, "lr": 0.02})
    change(folder, model={**yaml.safe_load((folder / "params.yaml").read_text())["model"], "name": "cnn"})
    change(
        folder, export={"int8": {"calibration": 60, "max_accuracy_drop": 0.5, "min_agreement": 0.5, "min_speedup": 0.0}}
    )  # else a timing would decide
    commit_all(folder)
    return folder


def outputs(folder: Path) -> dict[str, str]:
    """The digests of all that the pipeline left, the costs aside."""
    files = [
        file for kept in KEPT for file in (folder / kept).rglob("*") if file.is_file() and "cost" not in file.parts
    ]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_one_command_leads_from_raw_files_to_a_classifier(repository: Path):
    ran, _ = dvc(repository, "repro")
    assert sorted(ran) == STAGES

    evaluated = json.loads((repository / "metrics/evaluate.json").read_text())
    assert evaluated["accuracy"] > 0.9
    assert evaluated["accuracy_low"] < evaluated["accuracy"] <= evaluated["accuracy_high"]
    assert {"loss", "macro_f1", "calibration", "selective", "abstention"} <= set(evaluated)
    trained = json.loads((repository / "metrics/train.json").read_text())
    assert {"epochs", "best_epoch", "val_accuracy", "parameters"} <= set(trained)
    robust = json.loads((repository / "metrics/robustness.json").read_text())
    assert 0.3 < robust["mean_accuracy"] < evaluated["accuracy"]
    exported = json.loads((repository / "metrics/export.json").read_text())
    assert exported["max_abs_difference"] < 1e-3
    assert exported["size_mb"] > 0
    for stage in STAGES:
        assert {"seconds", "peak_memory_mb"} <= set(json.loads((repository / f"metrics/cost/{stage}.json").read_text()))

    predictions = pd.read_csv(repository / "metrics/predictions.csv")
    images, labels = samples(60, 2)
    session = onnxruntime.InferenceSession(repository / "models/bundle/model.onnx")
    probabilities = session.run(["probabilities"], {"images": images[..., None]})[0]
    classes = np.array(["left", "middle", "right"])
    assert predictions["label"].tolist() == classes[labels].tolist()
    assert predictions["predicted"].tolist() == classes[probabilities.argmax(1)].tolist()
    assert np.allclose(predictions["confidence"], probabilities.max(1), atol=1e-4)
    assert (predictions["label"] == predictions["predicted"]).mean() == evaluated["accuracy"]
    commit_all(repository)
    assert not [
        path for path in git(repository, "ls-files").split() if path.startswith(("data/raw", "data/arrays", "models"))
    ]


def test_nothing_runs_twice(repository: Path):
    assert dvc(repository, "repro")[0] == []


def test_two_runs_leave_the_same_bits(repository: Path):
    lock, left = (repository / "dvc.lock").read_bytes(), outputs(repository)
    assert sorted(dvc(repository, "repro", "--force")[0]) == STAGES
    assert (repository / "dvc.lock").read_bytes() == lock
    assert outputs(repository) == left


def test_a_seed_that_is_added_trains_just_that_one(repository: Path):
    (repository / "seeds/seeds.yaml").write_text("seeds: [1, 2]\n")
    assert set(dvc(repository, "repro", "seeds/dvc.yaml")[0]) == {
        "seeds/dvc.yaml:train@1",
        "seeds/dvc.yaml:train@2",
        "seeds/dvc.yaml:summary",
    }
    (repository / "seeds/seeds.yaml").write_text("seeds: [1, 2, 3]\n")
    assert set(dvc(repository, "repro", "seeds/dvc.yaml")[0]) == {"seeds/dvc.yaml:train@3", "seeds/dvc.yaml:summary"}
    accuracies = [json.loads((repository / f"metrics/seeds/{seed}.json").read_text())["accuracy"] for seed in (1, 2, 3)]
    found = json.loads((repository / "metrics/seeds.json").read_text())
    assert found == {
        "mean": pytest.approx(statistics.mean(accuracies)),
        "std": pytest.approx(statistics.stdev(accuracies)),
        "n": 3,
    }
    assert dvc(repository, "repro")[0] == []


@pytest.mark.parametrize("file", [lock.FILE, lock.SEEDS])
def test_an_edit_of_any_tracked_output_is_seen(repository: Path, monkeypatch: pytest.MonkeyPatch, file: str):
    monkeypatch.chdir(repository)
    assert lock.mismatches(WORKSPACE, file) == []
    outs = {
        out["path"]: name
        for name, stage in lock.stages(WORKSPACE, file).items()
        for out in stage["outs"]
        if out["path"].startswith("metrics")
    }
    for path, name in outs.items():
        for edited in [path] if Path(path).is_file() else WORKSPACE.files(path):
            contents = Path(edited).read_bytes()
            Path(edited).write_bytes(contents + b" ")
            found = lock.mismatches(WORKSPACE, file)
            assert f"{name} left another {path}" in found
            readers = {
                f"export read another {edited}",
                f"summary read another {Path(path).parent}",
            }  # which read what others left
            assert set(found) <= {f"{name} left another {path}", *readers}
            Path(edited).write_bytes(contents)


def test_an_experiment_reruns_what_must_rerun_and_shows_what_it_did(repository: Path):
    assert dvc(repository, "exp", "run", "-S", "evaluate.test_time_flip=true")[0] == ["evaluate", "export"]
    assert 0 <= json.loads((repository / "metrics/evaluate.json").read_text())["accuracy_test_time_flip"] <= 1
    assert dvc(repository, "exp", "run", "-S", "train.lr=1e-4")[0][0] == "train"
    diff = json.loads(
        dvc(repository, "metrics", "diff", "--json")[1].splitlines()[0]
    )  # then, that HEAD has no metrics/seeds.json
    assert diff["metrics/evaluate.json"]["accuracy"]["diff"] != 0
    assert "metrics/cost/train.json" in diff


def test_going_back_retrains_nothing(repository: Path):
    git(repository, "checkout", "--", "params.yaml")
    assert dvc(repository, "repro")[0] == []
    assert (
        git(
            repository,
            "status",
            "--porcelain",
            "dvc.lock",
            "metrics/train.json",
            "metrics/evaluate.json",
            "metrics/predictions.csv",
        )
        == ""
    )


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"train": {"lr": 1e9, "optimizer": "sgd", "schedule": "constant"}}, "The training diverged"),
        ({"train": {"epoch": 3}}, "did you mean train.epochs?"),
        ({"train": {"batch_size": 100_000}}, "lower it"),
    ],
)
def test_a_failing_stage_says_why_and_loses_nothing(repository: Path, sections: dict, sentence: str):
    left = outputs(repository)
    change(repository, **sections)
    assert sentence in dvc(repository, "repro", code=255)[1]
    assert outputs(repository) == left
    git(repository, "checkout", "--", "params.yaml")
    assert dvc(repository, "repro")[0] == []


def test_a_failing_stage_of_a_fresh_clone_loses_nothing(repository: Path, tmp_path: Path):
    clone = tmp_path / "clone"
    git(repository, "clone", "--quiet", ".", str(clone))
    change(clone, train={"lr": 1e9, "optimizer": "sgd", "schedule": "constant"})
    printed = dvc(clone, "repro", code=255)[1]
    assert "The training diverged" in printed
    assert "put back" not in printed
    assert (clone / "data/arrays").is_dir()
    changed = {line.split()[1] for line in git(clone, "status", "--porcelain").splitlines()}
    assert {path for path in changed if "cost" not in path} <= {"params.yaml", "dvc.lock"}


def test_ctrl_c_while_libraries_load_loses_nothing(repository: Path):
    left = outputs(repository)
    change(repository, train={"lr": 0.01})
    shim = repository / "torch.py"  # found before the real one
    shim.write_text("raise KeyboardInterrupt")
    printed = dvc(repository, "repro", code=255)[1]
    assert "train: Stopped. The same command goes on from here." in printed
    assert "exited with 130" in printed
    assert outputs(repository) == left
    shim.unlink()
    git(repository, "checkout", "--", "params.yaml")
    assert dvc(repository, "repro")[0] == []


def test_an_altered_raw_file_is_refused_and_loses_nothing(repository: Path):
    left = outputs(repository)
    file = repository / "data/datasets/tiny" / FILES[0]
    contents = file.read_bytes()
    file.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    assert FILES[0] in dvc(repository, "repro", code=255)[1]
    assert outputs(repository) == left
    file.write_bytes(contents)
    assert dvc(repository, "repro")[0] == []
