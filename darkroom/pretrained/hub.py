"""Describe the weights of a timm network in the Hugging Face Hub by a new weights.yaml, pinned to a commit."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text
from darkroom.models.registry import published
from darkroom.pretrained import descriptions
from darkroom.pretrained.descriptions import FILE, FOLDER

WEIGHTS, CONFIG = "model.safetensors", "config.json"
RESIZE = {"center": "crop", "squash": "stretch", "border": "pad"}  # timm's crop_mode as preprocess.resize


def add(repository: str, revision: str, name: str | None) -> str:
    """Download the weights and write data/pretrained/<name>/weights.yaml; return what was added, and how to use it.

    Raises DarkroomError if the repository, the revision or a file is missing, if it is not a timm network that can be
    trained, if the name is not valid, or if there is such a folder already.
    """
    name = name or repository.rpartition("/")[2]
    descriptions.require_valid(name)
    folder = FOLDER / name
    if folder.exists():
        raise DarkroomError(f"{folder} exists: choose another --name, or remove it.")
    with _explained(repository, revision):
        commit, licence, config = _describe(repository, revision)
    network = _network(config, repository)
    _require_usable(network, repository)
    with _explained(repository, commit):
        path = _download(repository, commit, WEIGHTS)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    described = {
        "title": f"{repository} of the Hugging Face Hub",
        "licence": licence,
        "homepage": f"https://huggingface.co/{repository}",
        "family": "timm",
        **network,
        "file": WEIGHTS,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "sources": [{"repository": repository, "revision": commit, "file": WEIGHTS}],
    }
    weights = descriptions.validate(name, described)
    folder.mkdir(parents=True)
    write_text(folder / FILE, yaml.safe_dump(described, sort_keys=False, allow_unicode=True))
    unknown = licence == descriptions.UNKNOWN
    warning = "; its licence is not stated, so ask its author before you use it" if unknown else ""
    size = f"{weights.bytes / 1e6:.0f} MB"
    return f"{folder / FILE}: {weights.architecture}, {size}, licence {licence}{warning}\n\n{weights.command()}"


def _describe(repository: str, revision: str) -> tuple[str, str, dict[str, Any]]:
    """The commit that the revision means, the licence, and the configuration."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repository, revision=revision)
    config = json.loads(_download(repository, info.sha, CONFIG).read_text(encoding="utf-8"))
    return info.sha, _licence(getattr(info.card_data, "license", None)), config


def _licence(stated: Any) -> str:
    """The licence as text; a model card may state several."""
    names = stated if isinstance(stated, list) else [stated]
    return ", ".join(name for name in names if isinstance(name, str)) or descriptions.UNKNOWN


def _download(repository: str, commit: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, file, revision=commit))


@contextmanager
def _explained(repository: str, revision: str) -> Iterator[None]:
    """Raise DarkroomError for an error of the Hub."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError:
        raise DarkroomError(f"{repository!r} is not owner/name of a repository.") from None
    except GatedRepoError:
        raise DarkroomError(f"{repository} is gated: request access on its page, then run `hf auth login`.") from None
    except RepositoryNotFoundError:
        raise DarkroomError(f"{repository} is not a repository of the Hub, or it is private.") from None
    except RevisionNotFoundError:
        raise DarkroomError(f"{repository} has no revision {revision!r}.") from None
    except EntryNotFoundError as error:
        raise DarkroomError(f"{repository} lacks {CONFIG} or {WEIGHTS} ({_first_line(error)}).") from None
    except Exception as error:  # the errors of its HTTP library have no common class that it exports
        raise DarkroomError(f"{repository} cannot be read from the Hugging Face Hub ({_first_line(error)}).") from None


def _network(config: dict[str, Any], repository: str) -> dict[str, Any]:
    """Architecture, size, resizing and normalisation, as timm's config.json states them."""
    try:
        expected = config["pretrained_cfg"]
        crop = expected.get("crop_pct") or 0
        return {
            "architecture": config["architecture"],
            "image_size": expected["input_size"][-1],
            "interpolation": "bilinear" if expected["interpolation"] == "bilinear" else "bicubic",  # or random, lanczos
            "resize": RESIZE.get(expected.get("crop_mode"), "crop"),
            **({"crop_fraction": crop} if 0.5 <= crop <= 1 else {}),  # VOLO's are enlarged instead
            "mean": list(expected["mean"]),
            "std": list(expected["std"]),
        }
    except (KeyError, TypeError, IndexError) as error:
        raise DarkroomError(f"{repository} is not a network of timm: its {CONFIG} lacks {error}.") from None


def _require_usable(network: dict[str, Any], repository: str) -> None:
    """Raise DarkroomError if no training could use the network: known before its weights are downloaded."""
    try:
        with torch.device("meta"):  # shapes without memory
            published("timm", network["architecture"], len(network["mean"]))
    except DarkroomError as error:
        raise DarkroomError(f"{repository} cannot be used: {error}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
