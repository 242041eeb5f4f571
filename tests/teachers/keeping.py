"""Kept teachers of tiny networks, for tests."""

import hashlib
import json
from pathlib import Path

from safetensors.torch import save
from torch import nn

from darkroom.core.arrays import Manifest
from darkroom.teachers import descriptions
from darkroom.teachers.descriptions import Teacher
from tests.networks import SMALL, small


def put(name: str, manifest: Manifest, networks: int = 1, family: str = "cnn", **changes: object) -> Teacher:
    """Write data/teachers/<name> with random networks of the seeds 0, 1, ...; `changes` are of each description."""
    folder = descriptions.FOLDER / name
    folder.mkdir(parents=True)
    described = []
    for seed in range(networks):
        network = member(family, manifest, seed, changes.get("shape", manifest.shape))
        weights = save({key: tensor.contiguous() for key, tensor in network.state_dict().items()})
        (folder / f"{seed}.safetensors").write_bytes(weights)
        described.append(
            {
                "file": f"{seed}.safetensors",
                "bytes": len(weights),
                "sha256": hashlib.sha256(weights).hexdigest(),
                "family": family,
                "arguments": SMALL[family],
                "shape": manifest.shape,
                "mean": manifest.mean,
                "std": manifest.std,
                "parameters": sum(weight.numel() for weight in network.parameters()),
                "test_sha256": manifest.test_sha256,
                "pretrained": None,
                "commit": "",
                **changes,
            }
        )
    values = {key: getattr(manifest, key) for key in ("dataset", "title", "licence", "classes")}
    values |= {"test_examples_sha256": manifest.test_examples_sha256, "accuracy": 0.75, "networks": described}
    (folder / descriptions.FILE).write_text(json.dumps(values))
    return descriptions.load(name)


def member(family: str, manifest: Manifest, seed: int, shape: tuple[int, ...] | None = None) -> nn.Module:
    """The network of this seed, as `put` writes it."""
    return small(family, tuple(shape or manifest.shape), len(manifest.classes), seed).eval()


def edit(name: str, **changes: object) -> None:
    """Change keys of data/teachers/<name>/teacher.json."""
    path = Path(descriptions.FOLDER, name, descriptions.FILE)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
