"""The exported classifier in the forms that others run.

    python -m darkroom.convert triton FOLDER     a model of Triton's: FOLDER/<dataset>/ with config.pbtxt, labels.txt and 1/model.onnx
    python -m darkroom.convert pt2 FILE.pt2      a program of torch.export's, which takes pictures (batch, H, W, C) uint8 of that size alone

Both answer as the bundle does. Load a .pt2 only from where you trust: such a file can run code.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom.bundle import classifier
from darkroom.bundle.classifier import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_file, new_folder

CONFIG, LABELS, VERSION = "config.pbtxt", "labels.txt", "1"
MAX_BATCH = 64  # pictures that Triton runs together


def triton(source: Path, folder: Path) -> Path:
    """Writes the bundle in `source` as a model of the model repository `folder`, whose other models are left alone; returns the model's folder.

    Its URLs are those of `darkroom.serve`: /v2/models/<dataset>. Raises DarkroomError where the bundle is not sound, or where
    there are files in the model's place that this did not write.
    """
    found = classifier.read(source, threads=1)
    classifier.check_golden(found, source)
    name = found.manifest.dataset
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise DarkroomError(
            f"The dataset's name {name!r} cannot be a folder's in a model repository: export it under another name."
        )
    place = folder / name
    if strange := sorted({path.name for path in place.iterdir()} - {CONFIG, LABELS, VERSION} if place.exists() else ()):
        raise DarkroomError(
            f"{place} holds {strange[0]}, which is not of this command: move it away, or name another folder."
        )
    with new_folder(place) as temporary:
        (temporary / VERSION).mkdir()
        shutil.copyfile(source / classifier.VARIANTS["fp32"], temporary / VERSION / "model.onnx")
        (temporary / LABELS).write_text(
            "".join(f"{' '.join(label.split())}\n" for label in found.manifest.classes), encoding="utf-8", newline="\n"
        )
        (temporary / CONFIG).write_text(config(found.manifest), encoding="utf-8", newline="\n")
    return place


def config(manifest: Manifest) -> str:
    """The text of config.pbtxt: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto."""
    (height, width, channels), count = manifest.shape, len(manifest.classes)
    return f"""name: {json.dumps(manifest.dataset, ensure_ascii=False)}
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {MAX_BATCH}
input [
  {{ name: "images" data_type: TYPE_UINT8 dims: [ -1, -1, {channels} ] }} # pictures of any height and width
]
output [
  {{ name: "logits" data_type: TYPE_FP32 dims: [ {count} ] }},
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {count} ] label_filename: "{LABELS}" }}
]
dynamic_batching {{ }} # requests that wait, with pictures of one size, run together; none waits for others
instance_group [ {{ count: 1 kind: KIND_AUTO }} ] # on a GPU where there is one
model_warmup [
  {{
    name: "a black picture"
    batch_size: 1
    inputs {{
      key: "images"
      value {{ data_type: TYPE_UINT8 dims: [ {height}, {width}, {channels} ] zero_data: true }}
    }}
  }}
]
"""


def pt2(source: Path, trained: Path, file: Path) -> None:
    """Writes the network in `trained`, with all that the graph of the bundle in `source` holds around it, as a program of torch.export's.

    Raises DarkroomError where either cannot be read, or where the program does not answer the bundle's golden pictures as the bundle does.
    """
    import torch

    from darkroom.export import graph
    from darkroom.models import checkpoints

    manifest = classifier.read(source, threads=1).manifest
    network, description = checkpoints.load(trained)
    if description.data_sha256 != manifest.data_sha256:
        raise DarkroomError(
            f"The network in {trained} was trained on other data than the bundle in {source}: run `dvc repro export` first."
        )
    program = graph.traced(network, description, manifest.temperature)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names folders of this machine
    with np.load(source / classifier.GOLDEN, allow_pickle=False) as golden:
        images, *expected = (golden[name] for name in (classifier.INPUT, *classifier.OUTPUTS))
    with new_file(file) as temporary:
        torch.export.save(program, temporary)
        with torch.inference_mode():
            answers = torch.export.load(temporary).module()(torch.from_numpy(images))
        difference = max(
            float(np.abs(answer.numpy() - wanted).max()) for answer, wanted in zip(answers, expected, strict=True)
        )
        if not difference <= classifier.GOLDEN_TOLERANCE["fp32"]:
            raise DarkroomError(
                f"The network in {trained} answers otherwise than the bundle in {source} (by {difference:.3g}): run `dvc repro export` first."
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends with exit code 1 where a file is at fault, 2 (as argparse does) where the command is."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    forms = parser.add_subparsers(dest="form", required=True)
    repository = forms.add_parser("triton", help="a model repository of Triton's")
    repository.add_argument("target", metavar="FOLDER", type=Path)
    program = forms.add_parser("pt2", help="a program of torch.export's")
    program.add_argument("target", metavar="FILE.pt2", type=_pt2_file)
    program.add_argument("--model", type=Path, default=Path("models/trained"), help="default: models/trained")
    for command in (repository, program):
        command.add_argument("--bundle", type=Path, default=Path("models/bundle"), help="default: models/bundle")
    options = parser.parse_args(arguments)
    try:
        if options.form == "triton":
            place = triton(options.bundle, options.target)
            print(
                f"{place}: run it with `tritonserver --model-repository={options.target}`, and ask /v2/models/{place.name}"
            )
        else:
            pt2(options.bundle, options.model, options.target)
            print(f"{options.target}: run it with `torch.export.load({str(options.target)!r}).module()(images)`")
    except DarkroomError as error:
        sys.exit(f"convert: {error}")
    except OSError as error:
        sys.exit(
            f"convert: {options.target} was left as it is ({error}): free some space, or name a place that can be written to."
        )


def _pt2_file(text: str) -> Path:
    if not text.endswith(".pt2"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .pt2, by which PyTorch knows such a file")
    return Path(text)


if __name__ == "__main__":
    main()
