"""Convert the bundle to the format of another runtime.

    python -m darkroom.convert triton FOLDER   Triton: FOLDER/<dataset>/ with config.pbtxt, labels.txt, 1/model.onnx
    python -m darkroom.convert pt2 FILE.pt2    torch.export: takes images (batch, H, W, C) uint8 of one size only

Both give the predictions of the bundle, which must be of images. Load a .pt2 file only from a source that you trust,
since it can run code.
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
from darkroom.core.outputs import new_file, new_folder, require_replaceable
from darkroom.core.spelling import plural

CONFIG, LABELS, VERSION = "config.pbtxt", "labels.txt", "1"
MAX_BATCH = 64  # images that Triton runs together


def triton(source: Path, repository: Path) -> Path:
    """Write the bundle in `source` as a model of the Triton model repository `repository`; return the model's folder.

    Other models in the repository are left alone. The URLs are those of `darkroom.serve`: /v2/models/<dataset>. Raises
    DarkroomError if the bundle is invalid, or if the model's folder holds files that this command does not write.
    """
    bundle = _bundle(source)
    classifier.check_golden(bundle, source)
    name = bundle.manifest.dataset
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise DarkroomError(
            f"The dataset's name {name!r} in {source} is not a valid folder name: only letters, digits, _, -, . and "
            "spaces are allowed. Rename the dataset and run `dvc repro`."
        )
    target = repository / name
    require_replaceable(target, [CONFIG, LABELS, VERSION])
    labels = "".join(f"{' '.join(label.split())}\n" for label in bundle.manifest.classes)
    with new_folder(target) as temporary:
        (temporary / VERSION).mkdir()
        shutil.copyfile(source / classifier.VARIANTS["fp32"], temporary / VERSION / "model.onnx")
        (temporary / LABELS).write_text(labels, encoding="utf-8", newline="\n")
        (temporary / CONFIG).write_text(config(bundle.manifest), encoding="utf-8", newline="\n")
    return target


def config(manifest: Manifest) -> str:
    """The text of config.pbtxt.

    Its format: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
    """
    (height, width, channels), count = manifest.shape, len(manifest.classes)
    return f"""name: {json.dumps(manifest.dataset, ensure_ascii=False)}
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {MAX_BATCH}
input [
  {{ name: "images" data_type: TYPE_UINT8 dims: [ -1, -1, {channels} ] }} # images of any height and width
]
output [
  {{ name: "logits" data_type: TYPE_FP32 dims: [ {count} ] }},
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {count} ] label_filename: "{LABELS}" }}
]
dynamic_batching {{ }} # waiting requests with images of one size run together; no request waits for another
instance_group [ {{ count: 1 kind: KIND_AUTO }} ] # on a GPU if there is one
model_warmup [
  {{
    name: "a black image"
    batch_size: 1
    inputs {{
      key: "images"
      value {{ data_type: TYPE_UINT8 dims: [ {height}, {width}, {channels} ] zero_data: true }}
    }}
  }}
]
"""


def pt2(source: Path, trained: Path, file: Path) -> None:
    """Write the network in `trained` as a torch.export program, with the preprocessing of the bundle in `source`.

    Raises DarkroomError if PyTorch is not installed, if `source` or `trained` is invalid, or if the program's outputs
    for the bundle's golden images are not those of the bundle.
    """
    try:
        import torch

        from darkroom.export import graph
        from darkroom.models import checkpoints
    except ModuleNotFoundError as error:
        raise DarkroomError(
            f"pt2 needs {error.name}, which is not installed: run `pip install -r requirements.txt`."
        ) from None

    manifest = _bundle(source).manifest
    network, description = checkpoints.load(trained)
    if description.data_sha256 != manifest.data_sha256:
        raise DarkroomError(
            f"The network in {trained} was trained on other data than the bundle in {source}: run `dvc repro` first."
        )
    program = graph.trace(network, description, manifest.temperature, manifest.denoise)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names folders of this machine
    with np.load(source / classifier.GOLDEN, allow_pickle=False) as golden:
        images, *expected = (golden[name] for name in (classifier.INPUT, *classifier.OUTPUTS))
    with new_file(file) as temporary:
        torch.export.save(program, temporary)
        with torch.inference_mode():
            outputs = torch.export.load(temporary).module()(torch.from_numpy(images))
        difference = max(
            float(np.abs(output.numpy() - wanted).max()) for output, wanted in zip(outputs, expected, strict=True)
        )
        if not difference <= classifier.GOLDEN_TOLERANCE["fp32"]:  # not `>`, which is false for NaN
            raise DarkroomError(
                f"The network in {trained} and the bundle in {source} differ by {difference:.3g} on the golden images: "
                "run `dvc repro` first."
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if a file is at fault, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    formats = parser.add_subparsers(dest="format", required=True)
    repository = formats.add_parser("triton", help="a model repository for NVIDIA's Triton Inference Server")
    repository.add_argument("target", metavar="FOLDER", type=Path, help="the model repository")
    program = formats.add_parser("pt2", help="a program for torch.export.load")
    program.add_argument("target", metavar="FILE.pt2", type=_pt2_file, help="the file to write")
    program.add_argument(
        "--model",
        type=Path,
        default=Path("models/trained"),
        metavar="FOLDER",
        help="the trained network (default: %(default)s)",
    )
    for command in (repository, program):
        command.add_argument(
            "--bundle",
            type=Path,
            default=Path("models/bundle"),
            metavar="FOLDER",
            help="folder of the bundle (default: %(default)s)",
        )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.format == "triton":
            written = triton(chosen.bundle, chosen.target)
            print(f"wrote {written}: run `tritonserver --model-repository={chosen.target}`; /v2/models/{written.name}")
        else:
            pt2(chosen.bundle, chosen.model, chosen.target)
            print(f"wrote {chosen.target}: run it with `torch.export.load({str(chosen.target)!r}).module()(images)`")
    except DarkroomError as error:
        sys.exit(f"convert: {error}")
    except OSError as error:
        sys.exit(f"convert: {chosen.target} is unchanged ({error}): free disk space, or choose a writable folder.")


def _bundle(source: Path) -> classifier.Bundle:
    """The bundle of images in `source`; raises DarkroomError if it is invalid or of another kind of examples."""
    bundle = classifier.read(source, threads=1)
    if bundle.manifest.kind != "image":
        raise DarkroomError(
            f"{source} classifies {plural(bundle.manifest.kind)}, but only bundles of images can be converted: use "
            "`python -m darkroom.serve`, which has the same protocol under /v2."
        )
    return bundle


def _pt2_file(text: str) -> Path:
    if not text.endswith(".pt2"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .pt2")
    return Path(text)


if __name__ == "__main__":
    main()
