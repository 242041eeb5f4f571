"""Get pretrained weights, verify their digest, and convert them to safetensors; nothing for `model.pretrained: none`.

In: data/pretrained/<name>. Out: models/pretrained.
"""

import tempfile
from dataclasses import fields
from pathlib import Path

from darkroom.core import params
from darkroom.core.outputs import TEMPORARY, remove_leftovers
from darkroom.core.stage import run
from darkroom.models.config import PretrainedConfig
from darkroom.pretrained import descriptions, sources
from darkroom.weights import pretrained
from darkroom.weights.pretrained import Pretrained


def main() -> None:
    name = params.load(model=PretrainedConfig).pretrained
    if name == descriptions.NONE:
        pretrained.write(pretrained.FOLDER, None)
        return
    from darkroom.pretrained import conversion  # imports PyTorch, which takes longer than this stage without weights

    weights = descriptions.load(name)
    remove_leftovers("data/pretrained")  # of a process that was killed
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}pretrained-", dir="data") as scratch:
        path, source = sources.fetch(weights, Path(scratch))
        contents = conversion.convert(path, weights)
    described = Pretrained(**{field.name: getattr(weights, field.name) for field in fields(Pretrained)})
    pretrained.write(pretrained.FOLDER, described, contents)
    print(f"{weights.title}: {source} (licence: {weights.licence})")
    if weights.licence == descriptions.UNKNOWN:
        print(f"Warning: {weights.title}: its licence is not stated, so ask its author before you use it.")


if __name__ == "__main__":
    run("pretrained", main)
