"""Test helper: a project with a folder of images to label, and its packed arrays."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from darkroom.core.arrays import Split
from tests import packs
from tests.repository import ROOT

CLASSES = ("cat", "dog", "owl")
SIZE = (6, 8)  # height, width of the packed images


def ids(count: int) -> list[str]:
    return [f"unlabelled/{number:05}.png" for number in range(count)]


def make(folder: Path, unlabelled: int = 5, classes: Sequence[str] = CLASSES) -> Path:
    """A project in `folder` with the data set `photos`: as many unlabelled images, and two labelled ones per split."""
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    text = (folder / "params.yaml").read_text(encoding="utf-8").replace("dataset: fashion_mnist", "dataset: photos")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    photos = folder / "data" / "datasets" / "photos"
    random = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 6), ("val", 2), ("test", 2), ("unlabelled", unlabelled)):
        labels = np.arange(count) % 2
        names = (
            ids(count)
            if name == "unlabelled"
            else [f"{classes[label]}/{name}{row}.png" for row, label in enumerate(labels)]
        )
        inputs = random.integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
        for file, pixels in zip(names, inputs, strict=True):
            path = photos / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.repeat(20, 0).repeat(20, 1)).save(path)
        splits[name] = Split(inputs, np.full(count, -1) if name == "unlabelled" else labels, np.array(names))
    known = {**packs.DESCRIBED, "dataset": "photos", "title": "Photos", "classes": tuple(classes)}
    packs.write(folder / "data" / "arrays", {name: splits[name] for name in ("train", "val", "test")}, known)
    pack_unlabelled(folder / "data" / "arrays", splits["unlabelled"])
    return folder


def pack_unlabelled(folder: Path, split: Split) -> None:
    """Add unlabelled examples to packed arrays."""
    if len(split):
        np.save(folder / "unlabelled.inputs.npy", split.uncropped)
        (folder / "unlabelled.ids.json").write_text(json.dumps(split.ids.tolist()))
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["counts"]["unlabelled"] = len(split)
        (folder / "manifest.json").write_text(json.dumps(manifest))


def labels(folder: Path) -> Path:
    return folder / "data" / "datasets" / "photos" / "labels.csv"


@contextmanager
def running(folder: Path, *arguments: str, by: str = "anna") -> Iterator[tuple[str, subprocess.Popen]]:
    """The label page in a process of its own: its URL and its process, which is killed at the end."""
    command = [sys.executable, "-m", "darkroom.label", "--port", "0", "--by", by, *arguments]
    with subprocess.Popen(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if line.startswith("http"):
                    break
            else:
                raise AssertionError("".join(said))
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield line.split()[0], process
        finally:
            process.kill()


def answer(client: httpx.Client, state: dict, label: str) -> dict:
    """Answer the example of `state`; return the next state."""
    response = client.post("/v1/answer", json={"turn": state["turn"], "label": label})
    assert response.status_code == 200, response.text
    return response.json()
