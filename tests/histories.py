"""Test helper: a project of histories, with its raw folder, its packed arrays and an untrained network."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from darkroom.core import arrays
from darkroom.core.arrays import Augmentation, Manifest
from darkroom.core.outputs import new_folder, write_csv, write_json
from darkroom.models import checkpoints
from darkroom.models.registry import build
from tests.repository import ROOT

ARGUMENTS = {  # of small networks
    "sasrec": {"embed_dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 1.0, "dropout": 0.0},
    "gru4rec": {"embed_dim": 8, "hidden_size": 6, "layers": 2, "dropout": 0.0},
}
GENRES = ("drama", "comedy", "war")


def events(users: int = 12, items: int = 9, seed: int = 0) -> list[tuple[str, str, int]]:
    """User, item and time: each user sees 5 to all items once, mostly in the order of the items, from a random one."""
    random, found = np.random.default_rng(seed), []
    for user in range(users):
        order = (np.arange(items) + random.integers(items)) % items
        if user % 4 == 0:
            order = random.permutation(order)
        count = int(random.integers(5, items + 1))
        found += [(f"u{user}", f"film {item}", 1000 * user + 60 * step) for step, item in enumerate(order[:count])]
    return found


def raw(folder: Path, found: list[tuple[str, str, int]] | None = None) -> Path:
    """Write a raw folder of these events, or of `events()`, with titles and genres of the items."""
    folder.mkdir(parents=True, exist_ok=True)
    found = events() if found is None else found
    lines = [",".join(map(str, row)) for row in found]
    (folder / "events.csv").write_text("\n".join(["user,item,timestamp", *lines]) + "\n", encoding="utf-8")
    items = sorted({item for _, item, _ in found})
    rows = [f"{item},Title of {item},{GENRES[n % 3]}|{GENRES[n % 2]}" for n, item in enumerate(items)]
    (folder / "items.csv").write_text("\n".join(["item,title,genres", *rows]) + "\n", encoding="utf-8")
    (folder / "dataset.yaml").write_text("kind: history\ntitle: Films\nlicence: CC0\n", encoding="utf-8")
    return folder


def write(
    folder: str | Path, found: list[tuple[str, str, int]] | None = None, length: int = 6, features: int = 0
) -> Manifest:
    """Write the arrays of these events, or of `events()`, to `folder`: histories of at most `length` events.

    The last event of each user is the label of the test split, the one before it that of the validation split.
    """
    found = events() if found is None else found
    names = sorted({item for _, item, _ in found})
    number = {name: index for index, name in enumerate(names)}
    users: dict[str, list[int]] = {}
    for user, item, _ in sorted(found, key=lambda row: row[2]):
        users.setdefault(user, []).append(number[item])
    splits: dict[str, list[tuple[str, str, list[int], int]]] = {"train": [], "val": [], "test": []}
    for user, seen in users.items():
        splits["test"].append((f"user {user}/test", user, seen[:-1], seen[-1]))
        splits["val"].append((f"user {user}/val", user, seen[:-2], seen[-2]))
        for end in range(len(seen) - 3, 0, -length):
            splits["train"].append((f"user {user}/train/{end}", user, seen[max(0, end - length) : end], seen[end]))
    train_events = np.bincount([item for seen in users.values() for item in seen[:-2]], minlength=len(names))
    with new_folder(folder) as temporary:
        for name, rows in splits.items():
            inputs = np.zeros((len(rows), length), np.int32)
            for row, (_, _, history, _) in zip(inputs, rows, strict=True):
                latest = np.array(history[-length:])
                row[: len(latest)] = latest + 1
            np.save(temporary / f"{name}.inputs.npy", inputs)
            np.save(temporary / f"{name}.labels.npy", np.array([label for *_, label in rows], np.int64))
            seen = [(number, item + 1) for number, row in enumerate(rows) for item in row[2]]
            np.save(temporary / f"{name}.seen.npy", np.array(seen, np.int32))
            write_json(temporary / f"{name}.ids.json", [row[0] for row in rows])
            write_csv(temporary / f"{name}.columns.csv", pd.DataFrame({"user": [row[1] for row in rows]}))
        titles = [f"Title of {name}" for name in names]
        table = {"item": names, "title": titles, "train_events": train_events}
        write_csv(temporary / "items.csv", pd.DataFrame(table))
        if features:
            multi_hot = (np.arange(len(names))[:, None] % (1 + np.arange(features)) == 0).astype(np.float32)
            np.save(temporary / "items.features.npy", multi_hot)
        manifest = Manifest(
            dataset="films",
            title="Films",
            licence="CC0",
            classes=tuple(names),
            shape=(length, len(names) + 1, features),
            mean=(),
            std=(),
            counts={name: len(rows) for name, rows in splits.items()},
            augmentation=Augmentation(flip=False, shift=0),
            sha256="0" * 64,
            test_sha256="0" * 64,
            test_examples_sha256="0" * 64,
            resize="",
            interpolation="",
            crop_fraction=1.0,
            kind="history",
            events={"user": "who", "min_rating": 3.0},
        )
        write_json(temporary / "manifest.json", arrays.fields(manifest))
    return manifest


def make(folder: Path, features: int = 0) -> Manifest:
    """A project in `folder` with the data set `films`: params.yaml, its raw folder, and data/arrays."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("dataset: fashion_mnist", "dataset: films")
    (folder / "params.yaml").write_text(text.replace("  name: resnet ", "  name: sasrec "), encoding="utf-8")
    raw(folder / "data/datasets/films")
    return write(folder / "data/arrays", features=features)


def train(name: str = "sasrec", arguments: Mapping[str, object] | None = None) -> None:
    """Put a network with random weights into models/trained of the current folder."""
    manifest = arrays.read_manifest("data/arrays")
    torch.manual_seed(0)
    arguments = arguments or ARGUMENTS[name]
    network = build(name, arguments, manifest.shape, len(manifest.classes))
    network.fit_items(arrays.read_items("data/arrays").features)
    checkpoints.save("models/trained", network, checkpoints.describe(name, arguments, manifest, {"device": "cpu"}))
