"""A key for what is kept from one run to the next: it changes with everything that determines the contents."""

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from darkroom.core.processor import cores
from darkroom.models import hardware

LIBRARIES = ("numpy", "peft", "timm", "torch", "torchvision", "transformers")

_ROOT = Path(__file__).resolve().parents[2]


def fingerprint(values: Mapping[str, Any], device: torch.device, code: Sequence[str] = ()) -> str:
    """A hash of the `values`, the code, the versions of the libraries and the processor's features.

    `values` must be JSON. `code` names files and folders of the project that count as a whole, loaded or not; without
    it, all modules of the project that are loaded count.
    """
    ours = sorted(_files(code) if code else _loaded())
    determinants = {
        "values": values,
        "code": {str(path.relative_to(_ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in ours},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "processor": [
            device.type if device.type == "cpu" else hardware.describe(device),
            platform.machine(),
            torch.backends.cpu.get_cpu_capability(),
            cores(),  # which all processes of a training use together, unless train.threads is a number
        ],
    }
    return hashlib.blake2b(json.dumps(determinants, sort_keys=True).encode(), digest_size=16).hexdigest()


def _files(code: Sequence[str]) -> Iterator[Path]:
    for part in code:
        path = _ROOT / part
        yield from path.rglob("[!.]*.py") if path.is_dir() else [path]


def _loaded() -> set[Path]:
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    found = {Path(file).resolve() for file in modules if file}
    return {path for path in found if any(path.is_relative_to(_ROOT / part) for part in ("darkroom", "stages"))}
