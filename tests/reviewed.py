"""A repository with the tracked results of a classifier, for tests that compare revisions."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from darkroom.review.attestation import FILE
from darkroom.review.lock import digest
from darkroom.review.revision import WORKSPACE
from tests.repository import commit_all, git

CLASSES = ("coat", "shirt")
OUTS = ("metrics/evaluate.json", "metrics/predictions.csv")
PIPELINE = {
    "evaluate": {
        "cmd": "none",
        "deps": ["darkroom/net.py"],
        "params": ["train"],
        "plots": [{path: {"cache": False}} for path in OUTS],
    }
}
SEEDS = {
    "vars": ["seeds.yaml"],
    "stages": {
        "train": {
            "foreach": "${seeds}",
            "do": {
                "cmd": "train ${item}",
                "params": ["train.lr"],
                "outs": [{"metrics/seeds/${item}.json": {"cache": False}}],
            },
        },
        "summary": {
            "cmd": "summary",
            "params": [{"seeds/seeds.yaml": ["seeds"]}],
            "metrics": [{"metrics/seeds.json": {"cache": False}}],
        },
    },
}


def write(
    folder: Path, right: list[bool], lr: float = 0.1, labels: list[str] | None = None, **evaluated: object
) -> None:
    """Writes what a run leaves in which these test pictures were answered rightly, and a dvc.lock that is of it."""
    labels = labels or [CLASSES[place % 2] for place in range(len(right))]
    predicted = [
        label if good else CLASSES[1 - CLASSES.index(label)] for label, good in zip(labels, right, strict=True)
    ]
    table = pd.DataFrame(
        {
            "id": [f"test/{place:03}" for place in range(len(right))],
            "label": labels,
            "predicted": predicted,
            "confidence": 0.75,
        }
    )
    table["label_probability"] = [0.75 if good else 0.25 for good in right]
    numbers = {
        "accuracy": sum(right) / len(right),
        "macro_f1": 0.5,
        "samples": len(right),
        "calibration": {"after": {"ece": 0.01, "loss": 0.5}},
    }
    texts = {
        "params.yaml": yaml.safe_dump({"seed": 1, "train": {"lr": lr}}),
        "dvc.yaml": yaml.safe_dump({"stages": PIPELINE}),
        "darkroom/net.py": f"# {lr}\n",
        "metrics/evaluate.json": json.dumps(numbers | evaluated),
        "metrics/train.json": json.dumps({"parameters": 1000}),
        "metrics/cost/train.json": json.dumps({"training_seconds": 2.0}),
        "metrics/predictions.csv": table.to_csv(index=False),
    }
    _write(folder, texts)
    lock(folder)


def lock(folder: Path) -> None:
    """Writes the dvc.lock of the files as they are."""
    stage = {"cmd": "none", "deps": _entries("darkroom/net.py"), "outs": _entries(*OUTS)}
    stage["params"] = {"params.yaml": yaml.safe_load((folder / "params.yaml").read_text())}
    _write(folder, {"dvc.lock": yaml.safe_dump({"schema": "2.0", "stages": {"evaluate": stage}})})


def write_seeds(folder: Path, mean: float, std: float = 0.02) -> None:
    """Writes what the pipeline of two seeds leaves, and its dvc.lock, with the parameters as they are."""
    texts = {f"metrics/seeds/{seed}.json": json.dumps({"accuracy": mean}) for seed in (1, 2)}
    texts |= {"metrics/seeds.json": json.dumps({"mean": mean, "std": std, "n": 2}), "seeds/seeds.yaml": "seeds: [1, 2]"}
    _write(folder, texts | {"seeds/dvc.yaml": yaml.safe_dump(SEEDS)})
    used = {"params.yaml": {"train.lr": yaml.safe_load((folder / "params.yaml").read_text())["train"]["lr"]}}
    stages = {
        f"train@{seed}": {"cmd": f"train {seed}", "params": used, "outs": _entries(f"metrics/seeds/{seed}.json")}
        for seed in (1, 2)
    }
    stages["summary"] = {
        "cmd": "summary",
        "params": {"seeds/seeds.yaml": {"seeds": [1, 2]}},
        "outs": _entries("metrics/seeds.json"),
    }
    _write(folder, {"seeds/dvc.lock": yaml.safe_dump({"schema": "2.0", "stages": stages})})


def attest(folder: Path, **changes: Any) -> dict[str, Any]:
    """Writes an attestation that all of dvc.lock came out the same, but for these changes of its fields; returns it."""
    stage = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["evaluate"]
    outputs = [
        {"stage": "evaluate", "path": out["path"], "locked": out["md5"], "found": out["md5"], "same": True}
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
        "params": stage["params"]["params.yaml"],
        "outputs": outputs,
        **changes,
    }
    _write(folder, {FILE: json.dumps(attested)})
    return attested


def commit(folder: Path, tag: str) -> None:
    commit_all(folder)
    git(folder, "tag", tag)


def _entries(*paths: str) -> list[dict]:
    """What dvc.lock says of files of the working directory."""
    return [{"path": path, "md5": digest(WORKSPACE, path)} for path in paths]


def _write(folder: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
