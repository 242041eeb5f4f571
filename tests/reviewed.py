"""A repository with the tracked results of a classifier, for tests that compare revisions."""

import json
from pathlib import Path

import pandas as pd
import yaml

from tests.repository import commit_all, git

CLASSES = ("coat", "shirt")


def write(folder: Path, right: list[bool], lr: float = 0.1, labels: list[str] | None = None, **evaluated: object) -> None:
    """Writes what a run leaves in which these test pictures were answered rightly, and a dvc.lock that is of it."""
    labels = labels or [CLASSES[place % 2] for place in range(len(right))]
    predicted = [label if good else CLASSES[1 - CLASSES.index(label)] for label, good in zip(labels, right, strict=True)]
    table = pd.DataFrame({"id": [f"test/{place:03}" for place in range(len(right))], "label": labels, "predicted": predicted, "confidence": 0.75})
    table["label_probability"] = [0.75 if good else 0.25 for good in right]
    numbers = {"accuracy": sum(right) / len(right), "macro_f1": 0.5, "samples": len(right), "calibration": {"after": {"ece": 0.01, "loss": 0.5}}}
    texts = {
        "params.yaml": yaml.safe_dump({"seed": 1, "train": {"lr": lr}}),
        "dvc.yaml": "stages:\n  evaluate:\n    cmd: none\n    deps: [darkroom/net.py]\n",
        "darkroom/net.py": f"# {lr}\n",
        "metrics/evaluate.json": json.dumps(numbers | evaluated),
        "metrics/train.json": json.dumps({"parameters": 1000}),
        "metrics/cost/train.json": json.dumps({"training_seconds": 2.0}),
        "metrics/predictions.csv": table.to_csv(index=False),
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    lock(folder)


def lock(folder: Path) -> None:
    """Writes the dvc.lock of the files as they are."""
    from darkroom.lock import digest
    from darkroom.revision import WORKSPACE

    def entries(*paths: str) -> list[dict]:
        return [{"path": path, "md5": digest(WORKSPACE, path)} for path in paths]

    stage = {"deps": entries("darkroom/net.py"), "outs": entries("metrics/evaluate.json", "metrics/predictions.csv")}
    stage["params"] = {"params.yaml": yaml.safe_load((folder / "params.yaml").read_text())}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"evaluate": stage}}))


def commit(folder: Path, tag: str) -> None:
    commit_all(folder)
    git(folder, "tag", tag)
