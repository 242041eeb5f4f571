"""Test helper: a project of texts, with its packed arrays and an untrained network."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from darkroom.core import arrays
from darkroom.core.arrays import Manifest
from darkroom.models import checkpoints
from darkroom.models.registry import build
from tests.preprocess.test_texts import pack, rows
from tests.repository import ROOT

ARGUMENTS = {"embed_dim": 8, "channels": 4, "dropout": 0.0}  # of a small text_cnn


def make(folder: Path, more: Sequence[tuple[str, str, str]] = (), **changes: object) -> Manifest:
    """A project in `folder` with the data set `mine`: the texts of `rows` and `more`, with `changes` of preprocess."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("dataset: fashion_mnist", "dataset: mine")
    (folder / "params.yaml").write_text(text.replace("  name: resnet ", "  name: text_cnn "), encoding="utf-8")
    manifest = pack(folder, [*rows(), *more], **changes)
    shutil.move(folder / "arrays", folder / "data/arrays")
    shutil.move(folder / "raw", folder / "data/raw")
    return manifest


def train() -> None:
    """Put a network with random weights into models/trained of the current folder."""
    manifest = arrays.read_manifest("data/arrays")
    torch.manual_seed(0)
    network = build("text_cnn", ARGUMENTS, manifest.shape, len(manifest.classes))
    description = checkpoints.describe("text_cnn", ARGUMENTS, manifest, {"device": "cpu"})
    checkpoints.save("models/trained", network, description)
