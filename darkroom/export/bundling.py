"""Write the bundle: golden images, manifest, model card and ONNX files."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from darkroom.bundle.classifier import (
    CARD,
    FORMAT,
    INPUT,
    MANIFEST,
    VARIANTS,
    AnyManifest,
    answers,
    check_golden,
    golden_names,
    latency_ms,
    open_session,
    read,
)
from darkroom.bundle.manifest import Conformal, Manifest, Pretrained, Teacher
from darkroom.core.outputs import write_json, write_text
from darkroom.core.randomness import numpy_generator
from darkroom.export.graph import Denoise
from darkroom.export.model_card import card, history_card, table_card, text_card
from darkroom.inputs.config import ImageConfig
from darkroom.inputs.denoising import denoise
from darkroom.models.checkpoints import Description, Trained

GOLDEN_IMAGES = 8
CARDS = {"image": card, "text": text_card, "table": table_card, "history": history_card}
_PREPROCESSING = ("resize", "interpolation", "crop_fraction", "denoise", "max_pixels")


def golden(models: Mapping[str, bytes], shape: tuple[int, int, int], method: Denoise) -> bytes:
    """The contents of golden.npz: images of `shape` (H, W, C) in coarse to fine random blocks, and their outputs.

    `models` are ONNX files by variant that do not denoise; they get the images denoised by `method`. So the golden
    outputs do not depend on the denoising in the published files, and running those checks it.
    """
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
        outputs = answers(open_session(model, threads=1), denoise(images, method))
        arrays |= zip(golden_names(variant), outputs, strict=True)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def describe(
    trained: Trained,
    preprocess: ImageConfig,
    opset: int,
    calibration: Mapping[str, Any],
    evaluated: Mapping[str, Any],
    reference: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> Manifest:
    """The manifest of a bundle with the network of `trained` and these `files` (contents by name).

    `calibration` and `evaluated` are the contents of models/calibration.json and metrics/evaluate.json.
    """
    return Manifest(
        **common(trained, opset, calibration, evaluated, reference, files),
        **{name: getattr(preprocess, name) for name in _PREPROCESSING},
        intensity_range=trained.manifest.intensity_range,
    )


def common(
    trained: Trained,
    opset: int,
    calibration: Mapping[str, Any],
    evaluated: Mapping[str, Any],
    reference: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    """The fields that manifests of all classifiers have; arguments as of `describe`."""
    return {
        **shared(trained, opset, evaluated, reference, files),
        **{name: value for name, value in calibration.items() if name != "conformal"},
        "conformal": TypeAdapter(Conformal).validate_python(calibration["conformal"]),
    }


def shared(
    trained: Trained,
    opset: int,
    evaluated: Mapping[str, Any],
    reference: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    """The fields that manifests of every kind have; arguments as of `describe`."""
    description = trained.description
    fields = ("dataset", "title", "licence", "data_sha256", "classes", "shape")
    return {
        "format": FORMAT,
        "model": description.name,
        **{name: getattr(description, name) for name in fields},
        "pretrained": _pretrained(description),
        "teacher": _teacher(description),
        "opset": opset,
        "metrics": {name: value for name, value in evaluated.items() if isinstance(value, int | float)},
        "reference": reference,
        "files": {name: hashlib.sha256(contents).hexdigest() for name, contents in files.items()},
    }


def _pretrained(description: Description) -> Pretrained | None:
    weights = description.params.get("pretrained")
    return Pretrained(**{key: weights[key] for key in ("title", "licence", "sha256")}) if weights else None


def _teacher(description: Description) -> Teacher | None:
    teacher = description.params.get("teacher")
    if not teacher:
        return None
    networks = teacher["networks"]
    return Teacher(
        name=teacher["name"],
        networks=tuple(f"{one['family']} {one['arguments'].get('architecture', '')}".strip() for one in networks),
        parameters=sum(one["parameters"] for one in networks),
        accuracy=teacher["accuracy"],
        sha256=tuple(one["sha256"] for one in networks),
        pretrained=tuple(Pretrained(**one["pretrained"]) for one in networks if one["pretrained"]),
    )


def read_per_class(path: str | Path) -> list[dict[str, str]]:
    """The rows of metrics/evaluate/per_class.csv."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(
    folder: Path,
    manifest: AnyManifest,
    files: Mapping[str, bytes],
    per_class: Sequence[Mapping[str, Any]],
    threads: int,
) -> float:
    """Write the bundle of `files` to `folder` and run its golden images; returns the milliseconds per image."""
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    write_json(folder / MANIFEST, asdict(manifest))
    write_text(folder / CARD, CARDS[manifest.kind](manifest, per_class))
    for variant, name in VARIANTS.items():
        if name in files:
            check_golden(read(folder, threads, variant), folder)
    return latency_ms(read(folder, threads=1))
