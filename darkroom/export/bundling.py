"""Write the bundle: its golden images, its manifest, its model card and its ONNX files."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.bundle.classifier import (
    CARD,
    FORMAT,
    INPUT,
    MANIFEST,
    VARIANTS,
    Manifest,
    answers,
    check_golden,
    golden_names,
    latency_ms,
    open_session,
    read,
)
from darkroom.core.outputs import write_json, write_text
from darkroom.core.randomness import numpy_generator
from darkroom.export.model_card import card
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import Description

GOLDEN_IMAGES = 8


def golden(models: Mapping[str, bytes], shape: tuple[int, int, int]) -> bytes:
    """The contents of golden.npz: pictures of `shape` (H, W, C) in coarse and fine random blocks, and what the ONNX files answer, by variant."""
    height, width, channels = shape
    images = np.empty((GOLDEN_IMAGES, *shape), np.uint8)
    for number, image in enumerate(images):
        blocks = numpy_generator(0, "golden", number).integers(
            0, 256, (number + 2, number + 2, channels), dtype=np.uint8
        )
        rows, columns = (np.arange(size) * len(blocks) // size for size in (height, width))
        image[:] = blocks[rows][:, columns]
    arrays = {INPUT: images}
    for variant, model in models.items():
        arrays |= zip(golden_names(variant), answers(open_session(model, threads=1), images), strict=True)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def describe(
    description: Description,
    preprocess: ImageConfig,
    opset: int,
    calibration: Mapping[str, Any],
    evaluated: Mapping[str, Any],
    reference: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> Manifest:
    """The manifest of the bundle of the network of `description`, which consists of `files`, contents by name.

    `calibration` and `evaluated` are what evaluate left in models/calibration.json and metrics/evaluate.json.
    """
    metrics = {name: value for name, value in evaluated.items() if isinstance(value, int | float)}
    return Manifest(
        format=FORMAT,
        model=description.name,
        **{
            name: getattr(description, name)
            for name in ("dataset", "title", "licence", "data_sha256", "classes", "shape")
        },
        **{name: getattr(preprocess, name) for name in ("resize", "denoise", "max_pixels")},
        opset=opset,
        temperature=calibration["temperature"],
        threshold=calibration["threshold"],
        metrics=metrics,
        reference=reference,
        files={name: hashlib.sha256(held).hexdigest() for name, held in files.items()},
    )


def write(
    folder: Path, manifest: Manifest, files: Mapping[str, bytes], per_class: Sequence[Mapping[str, Any]], threads: int
) -> float:
    """Writes the bundle of `files` to `folder`, runs its golden images, and returns the milliseconds per image."""
    for name, held in files.items():
        (folder / name).write_bytes(held)
    write_json(folder / MANIFEST, asdict(manifest))
    write_text(folder / CARD, card(manifest, per_class))
    for variant, name in VARIANTS.items():
        if name in files:
            check_golden(read(folder, threads, variant), folder)
    return latency_ms(read(folder, threads=1))
