"""Pretrained weights of a tiny timm network, for tests."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from darkroom.models import timm_models

ARCHITECTURE = "test_resnet"


def tensors() -> dict[str, torch.Tensor]:
    """The state dict of the network as published, with random values."""
    torch.manual_seed(0)
    return timm_models.published(ARCHITECTURE, 3).state_dict()


def describe(contents: bytes, file: str = "model.safetensors", **changes: Any) -> dict[str, Any]:
    """The contents of a weights.yaml for a file with these contents."""
    return {
        "title": "Tiny",
        "licence": "MIT",
        "family": "timm",
        "architecture": ARCHITECTURE,
        "file": file,
        "bytes": len(contents),
        "sha256": hashlib.sha256(contents).hexdigest(),
        "image_size": 32,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        **changes,
    }


def put(name: str, contents: bytes | None = None, file: str = "model.safetensors", **changes: Any) -> Path:
    """Write data/pretrained/<name> with its weights.yaml and the file; return the folder."""
    contents = save(tensors()) if contents is None else contents
    folder = Path("data/pretrained", name)
    folder.mkdir(parents=True)
    (folder / "weights.yaml").write_text(yaml.safe_dump(describe(contents, file, **changes)))
    (folder / file).write_bytes(contents)
    return folder
