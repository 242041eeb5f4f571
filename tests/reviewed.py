"""A repository with the tracked results of a classifier, for tests that compare revisions."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from darkroom.review.attestation import FILE
from darkroom.review.digests import digest
from darkroom.review.lock import recipe
from darkroom.review.revision import WORKSPACE
from tests.repository import commit_all, git

CLASSES = ("coat", "shirt")
WEAK = [index % 4 > 0 for index in range(200)]  # which predictions are correct: 75 %
STRONG = [index % 10 > 0 for index in range(200)]  # 90 %
WEIGHTS = "models/trained"
OUTS = ("metrics/evaluate.json", "metrics/predictions.csv")
PIPELINE = {
    "train": {
        "cmd": "none",
        "deps": ["darkroom/train"],
        "params": ["seed", "train"],
        "outs": [WEIGHTS],
    },
    "evaluate": {
        "cmd": "none",
        "deps": ["darkroom/evaluate.py", WEIGHTS],
        "plots": [{path: {"cache": False}} for path in OUTS],
    },
}


def write(
    folder: Path,
    correct: Sequence[bool],
    lr: float = 0.1,
    labels: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    **evaluated: object,
) -> None:
    """Write what a run leaves in which these test examples were predicted correctly, with a current dvc.lock.

    `columns` are further columns of the predictions.
    """
    labels = labels or [CLASSES[index % 2] for index in range(len(correct))]
    predicted = [
        label if good else CLASSES[1 - CLASSES.index(label)] for label, good in zip(labels, correct, strict=True)
    ]
    ids = [f"test/{index:03}" for index in range(len(correct))]
    table = pd.DataFrame({"id": ids, "label": labels, "predicted": predicted, "confidence": 0.75})
    table["label_probability"] = [0.75 if good else 0.25 for good in correct]
    table = table.assign(**(columns or {}))
    numbers = {
        "accuracy": sum(correct) / len(correct),
        "macro_f1": 0.5,
        "samples": len(correct),
        "expected_calibration_error": 0.01,
        "loss_calibrated": 0.5,
    }
    texts = {
        "params.yaml": yaml.safe_dump({"seed": 1, "train": {"lr": lr}}),
        "dvc.yaml": yaml.safe_dump({"stages": PIPELINE}),
        "darkroom/train/net.py": f"# {lr}\n",
        "darkroom/train/loop.py": "",
        "darkroom/evaluate.py": "",
        "metrics/evaluate.json": json.dumps(numbers | evaluated),
        "metrics/train.json": json.dumps({"parameters": 1000}),
        "metrics/cost/train.json": json.dumps({"training_seconds": 2.0}),
        "metrics/predictions.csv": table.to_csv(index=False),
    }
    _write(folder, texts)
    lock(folder)


def lock(folder: Path) -> None:
    """Write the dvc.lock of the files as they are."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    weights = {"path": WEIGHTS, "md5": hashlib.md5(json.dumps(values).encode()).hexdigest() + ".dir"}
    stages = {
        "train": {
            "cmd": "none",
            "deps": [{**entry("darkroom/train"), "nfiles": 2}],
            "params": {"params.yaml": values},
            "outs": [weights],
        },
        "evaluate": {
            "cmd": "none",
            "deps": [entry("darkroom/evaluate.py"), dict(weights)],
            "outs": [entry(path) for path in OUTS],
        },
    }
    _write(folder, {"dvc.lock": yaml.safe_dump({"schema": "2.0", "stages": stages})})


def relock(folder: Path, stage: str, **changes: Any) -> None:
    """Update entries of a stage in dvc.lock: `deps` and `outs` are appended to, others replaced."""
    locked = yaml.safe_load((folder / "dvc.lock").read_text())
    for key, value in changes.items():
        entries = locked["stages"].setdefault(stage, {})
        entries[key] = entries.get(key, []) + value if key in ("deps", "outs") else value
    (folder / "dvc.lock").write_text(yaml.safe_dump(locked))


def add_dep(folder: Path, stage: str, dep: str, **locked: Any) -> None:
    """Declare another dependency of a stage in dvc.yaml, and write what dvc.lock says about it."""
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())
    pipeline["stages"][stage]["deps"].append(dep)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    relock(folder, stage, deps=[{"path": dep, **locked}])


def write_seeds(folder: Path, mean: float, std: float = 0.02, n: int = 2) -> None:
    """Write the numbers over `n` seeds of the recipe in dvc.lock."""
    numbers = {"mean": mean, "std": std, "n": n, "recipe": recipe(WORKSPACE)}
    _write(folder, {"metrics/seeds.json": json.dumps(numbers)})


def change_predictions(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the predictions, with the accuracy and the dvc.lock that belong to them."""
    table = change(pd.read_csv(folder / "metrics/predictions.csv", keep_default_na=False))
    table.to_csv(folder / "metrics/predictions.csv", index=False)
    numbers = json.loads((folder / "metrics/evaluate.json").read_text())
    numbers |= {"accuracy": float((table["label"] == table["predicted"]).mean()), "samples": len(table)}
    (folder / "metrics/evaluate.json").write_text(json.dumps(numbers))
    lock(folder)


def attest(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write an attestation that all outputs of dvc.lock are the same, with these changes of its fields; return it."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    outputs = [
        {"stage": name, "path": out["path"], "locked": out["md5"], "found": out["md5"], "same": True}
        for name, stage in stages.items()
        for out in stage["outs"]
    ]
    attested = {
        "commit": "0" * 40,
        "lock_sha256": hashlib.sha256((folder / "dvc.lock").read_bytes()).hexdigest(),
        "same": True,
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 60.0,
        "machine": {
            "processor": "2 cores of a <b>CPU</b>",
            "features": ["avx2"],
            "device": "2 CPU threads",
            "precision": "fp32",
            "system": "Linux",
        },
        "versions": {"Python": "3.11.0", "torch": None},
        "data": {},
        "params": stages["train"]["params"]["params.yaml"],
        "outputs": outputs,
        **changes,
    }
    _write(folder, {FILE: json.dumps(attested)})
    return attested


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that the file must contain."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def commit(folder: Path, tag: str) -> None:
    """Commit everything, with a tag."""
    commit_all(folder)
    git(folder, "tag", tag)


def entry(path: str) -> dict[str, Any]:
    """What dvc.lock says about a file or folder of the working directory."""
    return {"path": path, "md5": digest(WORKSPACE, path)}


def _write(folder: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
