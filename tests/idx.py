"""A tiny dataset in IDX files, for tests."""

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CODES = {"uint8": 0x08, "int32": 0x0C}


def encode(array: np.ndarray) -> bytes:
    """The bytes of an IDX file with `array`, uint8 or int32."""
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path: str | Path, array: np.ndarray) -> None:
    """Write `array`, uint8 or int32, to the IDX file `path`."""
    Path(path).write_bytes(encode(array))


def contents(train: int = 12, test: int = 6, classes: int = 3, size: int = 8) -> dict[str, bytes]:
    """The four files of a dataset of random images, by name; label i is i modulo the number of classes."""
    generator = np.random.default_rng(0)
    files = {}
    for split, count in (("train", train), ("t10k", test)):
        files[f"{split}-images-idx3-ubyte"] = encode(generator.integers(0, 256, (count, size, size), dtype=np.uint8))
        files[f"{split}-labels-idx1-ubyte"] = encode((np.arange(count) % classes).astype(np.uint8))
    return files


def description(data: dict[str, bytes], /, classes: int = 3, **changes: Any) -> dict[str, Any]:
    """The dataset.yaml of the files in `data` (train images and labels, test images and labels, in this order)."""
    roles = ("train_images", "train_labels", "test_images", "test_labels")
    entries = [
        {"role": role, "name": name, "bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest()}
        for role, (name, contents) in zip(roles, data.items(), strict=True)
    ]
    return {
        "title": "Tiny",
        "licence": "CC0-1.0",
        "homepage": "https://example.org/tiny",
        "format": "idx",
        "classes": [f"class {label}" for label in range(classes)],
        "augmentation": {"flip": False, "shift": 1},
        "files": entries,
        **changes,
    }


def write_dataset(
    name: str, values: dict[str, Any], files: dict[str, bytes] | None = None, compress: bool = False
) -> Path:
    """Write data/datasets/<name> in the working directory: its dataset.yaml, and `files` as a user would add them."""
    folder = Path("data/datasets") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.yaml").write_text(yaml.safe_dump(values))
    for file, data in (files or {}).items():
        if compress:
            (folder / f"{file}.gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            (folder / file).write_bytes(data)
    return folder
