"""The model card of a bundle, its README.md: front matter for model hubs, then what can be said of the model to people.

The sections follow Mitchell et al., "Model cards for model reporting", FAT* 2019, as far as the manifest can answer for them.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from darkroom.bundle.classifier import Manifest

LICENCES = {  # what model hubs know of SPDX, in their spelling
    *(
        "afl-3.0",
        "agpl-3.0",
        "apache-2.0",
        "artistic-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "cc0-1.0",
    ),
    *(
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
    ),
    *(
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
    ),
    *(
        "cdla-sharing-1.0",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "gpl-2.0",
        "gpl-3.0",
        "isc",
        "lgpl-2.1",
        "lgpl-3.0",
        "lppl-1.3c",
    ),
    *("mit", "mpl-2.0", "ms-pl", "ncsa", "ofl-1.1", "osl-3.0", "postgresql", "unlicense", "wtfpl", "zlib"),
}
RESIZED = {
    "stretch": "each side on its own",
    "crop": "the largest part in the middle that has this shape",
    "pad": "the whole, with black beside it",
}


def card(manifest: Manifest, per_class: Sequence[Mapping[str, Any]]) -> str:
    """The text of the model card, the same for the same arguments.

    `per_class` is a row a class, as in metrics/evaluate/per_class.csv: class, precision, recall, f1, the bounds of the first two
    (precision_low ...) and support, as numbers or as texts.
    """
    front = yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True, width=10_000)
    sections = (
        _introduction(manifest),
        _signature(manifest),
        _use(manifest),
        _evaluation(manifest, per_class),
        _limits(manifest, per_class),
        _origin(manifest),
    )
    return "\n\n".join((f"---\n{front}---", *sections)) + "\n"


def _front_matter(manifest: Manifest) -> dict[str, Any]:
    """What https://github.com/huggingface/hub-docs/blob/main/modelcard.md asks for."""
    dataset = _id(manifest.dataset)
    metrics = [
        {"type": "accuracy", "name": "Accuracy", "value": round(manifest.metrics["accuracy"], 4)},
        {
            "type": "f1",
            "name": "Macro F1",
            "value": round(manifest.metrics["macro_f1"], 4),
            "args": {"average": "macro"},
        },
    ]
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": dataset, "name": _line(manifest.title), "split": "test"},
        "metrics": metrics,
    }
    return {
        **_licence(manifest.licence),
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "onnx", "onnxruntime", "darkroom"],
        "datasets": [dataset],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": f"{dataset}-{_id(manifest.model)}", "results": [result]}],
    }


def _licence(licence: str) -> dict[str, str]:
    """The keys by which hubs know a licence: by its id, or as another one by a name in the spelling of an id."""
    known = licence.strip().lower()
    return {"license": known} if known in LICENCES else {"license": "other", "license_name": _id(licence).lower()}


def _introduction(manifest: Manifest) -> str:
    title = _text(manifest.title)
    return f"""# {title}: image classifier

A network of the family {_text(manifest.model)} that tells the {len(manifest.classes)} classes of {title} apart, as one ONNX file that runs without PyTorch.
It is right on {_share(manifest.metrics, "accuracy")} of {manifest.metrics["samples"]:,} test pictures. Darkroom made it, and wrote this card from what it
measured."""


def _signature(manifest: Manifest) -> str:
    (height, width, channels), count = manifest.shape, len(manifest.classes)
    rows = [
        (
            "`images`",
            f"(batch, height, width, {channels})",
            "uint8",
            f"{'grey' if channels == 1 else 'red, green, blue'}, 0 to 255, of any height and width",
        ),
        ("`logits`", f"(batch, {count})", "float32", "a column a class, in the order of `classes` in `manifest.json`"),
        (
            "`probabilities`",
            f"(batch, {count})",
            "float32",
            f"softmax of logits / {manifest.temperature:.4g}, a temperature; a row sums to 1",
        ),
    ]
    median = (
        " For the training, a median of 3 x 3 went over each in between: do that first, for the file does not."
        if manifest.denoise == "median"
        else ""
    )
    return f"""## Input and output

{_table(("name", "shape", "type", "meaning"), rows)}

The file brings pictures of another size to {height} x {width} (height x width) as the training did, antialiased: {RESIZED[manifest.resize]}. Then it
normalises them.{median} `darkroom.predict` and the service treat a picture file as the training did, and refuse one of more than
{manifest.max_pixels:,} pixels."""


def _use(manifest: Manifest) -> str:
    return f"""## How to run it

In this folder, after `pip install onnxruntime`, of which recent versions report what they run to Microsoft unless the environment holds
`ORT_DISABLE_TELEMETRY=1`:

```python
import json

import numpy as np
from onnxruntime import InferenceSession

with open("manifest.json", encoding="utf-8") as file:
    manifest = json.load(file)
session = InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = np.load("golden.npz")["images"]  # random ones, to try it; put your own here: (batch, height, width, {manifest.shape[2]}) uint8
logits, probabilities = session.run(["logits", "probabilities"], {{"images": images}})
for row in probabilities:
    sure = manifest["threshold"] is not None and row.max() >= manifest["threshold"]
    print(manifest["classes"][row.argmax()], f"{{row.max():.1%}}", "" if sure else "(not sure enough to be answered)")
```

With Darkroom, of picture files, and as a service:

```
python -m darkroom.predict models/bundle pictures/*.png
python -m darkroom.serve
curl --data-binary @picture.png -H 'content-type: image/png' http://127.0.0.1:8000/v1/predict
```"""


def _evaluation(manifest: Manifest, per_class: Sequence[Mapping[str, Any]]) -> str:
    metrics = manifest.metrics
    figures = [
        ("accuracy", _share(metrics, "accuracy")),
        ("macro F1", _share(metrics, "macro_f1")),
        ("expected calibration error of the probabilities", f"{100 * metrics['expected_calibration_error']:.2f} %"),
    ]
    classes = [
        (
            _text(str(row["class"])),
            _share(row, "precision"),
            _share(row, "recall"),
            f"{100 * float(row['f1']):.2f} %",
            f"{int(row['support']):,}",
        )
        for row in per_class
    ]
    advice = (
        "no largest probability was found from which answers are right as often as was asked, so that every answer needs another opinion"
        if manifest.threshold is None
        else f"an answer whose largest probability is less than {manifest.threshold:.4f} should be withheld; the rest should be right as often as was asked"
    )
    return f"""## Evaluation

Of the {metrics["samples"]:,} test pictures of {_text(manifest.title)}, none was used to train the network, to choose its weights, or to fit the temperature and
the threshold. In brackets are 95 % intervals: Wilson's of shares, a bootstrap's of macro F1.

{_table(("figure", "value"), figures)}

{_table(("class", "precision", "recall", "F1", "test pictures"), classes)}

When to abstain: by the validation pictures, {advice}."""


def _limits(manifest: Manifest, per_class: Sequence[Mapping[str, Any]]) -> str:
    weakest = min(per_class, key=lambda row: float(row["recall"]))
    return f"""## Limits

- It gives every picture one of its {len(manifest.classes)} classes, also a picture of something else.
- Its weakest class is {_text(str(weakest["class"]))}, of which it finds {_share(weakest, "recall")}.
- These figures are of pictures from the same source as those it learned from: not of other cameras, places or times, and not of pictures made to deceive it.
- Where pictures show people, or what belongs to them, nothing was measured of differences between groups of people.
- The intervals are for other test pictures from the same source, not for another training."""


def _origin(manifest: Manifest) -> str:
    files = [(f"`{name}`", f"`{digest}`") for name, digest in manifest.files.items()]
    return f"""## Data and files

Data: {_text(manifest.title)} (in Darkroom: {_text(manifest.dataset)}), licence: {_text(manifest.licence)}. The front matter names the same licence for
the model, for want of another. SHA-256 of the packed pictures and labels: `{manifest.data_sha256}`.

{_table(("file", "SHA-256"), files)}

The ONNX files are of operator set {manifest.opset}; the folder is of Darkroom's format {manifest.format}."""


def _share(numbers: Mapping[str, Any], name: str) -> str:
    """A share in per cent, and the bounds of its interval, `<name>_low` and `<name>_high`, where they are known."""
    value, *bounds = (
        f"{100 * float(numbers[key]):.2f}" for key in (name, f"{name}_low", f"{name}_high") if key in numbers
    )
    return f"{value} % ({' to '.join(bounds)})" if bounds else f"{value} %"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _line(text: str) -> str:
    """A text of the dataset's on one line, without characters that cannot be seen."""
    return " ".join("".join(character for character in text if character.isprintable() or character.isspace()).split())


def _text(text: str) -> str:
    """The same as Markdown that shows it as it is, also in a table."""
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", html.escape(_line(text), quote=False))


def _id(text: str) -> str:
    """A text as an id of the kind that hubs accept: ASCII letters, digits and _, between them a single - or . here and there."""
    return re.sub(r"\W+", lambda run: "." if run[0] == "." else "-", text, flags=re.ASCII).strip("-.") or "unnamed"
