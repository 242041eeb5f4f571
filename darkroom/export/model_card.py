"""The model card of a bundle, its README.md: front matter for model hubs, then a description for people.

The sections follow Mitchell et al., "Model cards for model reporting", FAT* 2019, as far as the manifest covers them.
"""

import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from darkroom.bundle.classifier import AnyManifest
from darkroom.bundle.manifest import HistoryManifest, Manifest, TableManifest, TextManifest
from darkroom.inputs.resizing import uncropped

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
TEXT_TEMPLATE = Path(__file__).with_name("text_card.md.jinja")
TABLE_TEMPLATE = Path(__file__).with_name("table_card.md.jinja")
HISTORY_TEMPLATE = Path(__file__).with_name("history_card.md.jinja")
# The SPDX identifiers that model hubs know, in their spelling
LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nd-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gpl-2.0 gpl-3.0 isc lgpl-2.1
    lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib
"""
TASKS = {  # as model hubs call them, and their names, if not <kind>-classification
    "table": ("tabular-classification", "Table classification"),
    "history": ("other", "Sequential recommendation"),
}
_RESIZE = {
    "stretch": "each side on its own",
    "crop": "the largest centred part with this aspect ratio",
    "pad": "the whole image, with black borders",
}


def card(manifest: Manifest, per_class: Sequence[Mapping[str, Any]]) -> str:
    """The text of the model card; the same arguments give the same text.

    `per_class` has one row per class as in metrics/evaluate/per_class.csv, with numbers or strings as values: class,
    precision, recall, f1, the bounds of precision and recall (precision_low ...), and support.
    """
    height, width, channels = manifest.shape
    whole_height, whole_width = uncropped((height, width), manifest.crop_fraction)
    return _rendered(
        TEMPLATE,
        manifest,
        per_class,
        height=height,
        width=width,
        channels=channels,
        whole_height=whole_height,
        whole_width=whole_width,
        resize=_RESIZE[manifest.resize],
        kinds=[name.removeprefix("ood_auroc_") for name in manifest.metrics if name.startswith("ood_auroc_")],
    )


def text_card(manifest: TextManifest, per_class: Sequence[Mapping[str, Any]]) -> str:
    """As `card`, of a classifier of texts."""
    return _rendered(TEXT_TEMPLATE, manifest, per_class)


def table_card(manifest: TableManifest, per_class: Sequence[Mapping[str, Any]]) -> str:
    """As `card`, of a classifier of rows of a table."""
    return _rendered(TABLE_TEMPLATE, manifest, per_class, numbers=sum(size == 0 for size in manifest.shape))


def history_card(manifest: HistoryManifest, _: Sequence[Mapping[str, Any]]) -> str:
    """As `card`, of a recommender; items are too many for a row each."""
    return _rendered(HISTORY_TEMPLATE, manifest, ())


def _rendered(
    template: Path,
    manifest: AnyManifest,
    per_class: Sequence[Mapping[str, Any]],
    **more: Any,
) -> str:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["md"] = _escaped
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        front_matter=yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True, width=10_000),
        manifest=manifest,
        metrics=manifest.metrics,
        per_class=per_class,
        weakest=min(
            (row for row in per_class if float(row["support"])), key=lambda row: float(row["recall"]), default=None
        ),
        percent=_percent,
        number=lambda fraction: f"{100 * fraction:.4g}",
        **more,
    )


def _front_matter(manifest: AnyManifest) -> dict[str, Any]:
    """The metadata of https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    classification = f"{manifest.kind}-classification", f"{manifest.kind.capitalize()} classification"
    dataset, (task, task_name) = _id(manifest.dataset), TASKS.get(manifest.kind, classification)
    metrics = _ranking(manifest.metrics) if manifest.kind == "history" else _classification(manifest.metrics)
    result = {
        "task": {"type": task, "name": task_name},
        "dataset": {"type": dataset, "name": _line(manifest.title), "split": "test"},
        "metrics": metrics,
    }
    return {
        **_licence(manifest.licence),
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": ["recommendation" if manifest.kind == "history" else task, "onnx", "onnxruntime", "darkroom"],
        "datasets": [dataset],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": f"{dataset}-{_id(manifest.model)}", "results": [result]}],
    }


def _classification(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    accuracy, f1 = round(metrics["accuracy"], 4), round(metrics["macro_f1"], 4)
    return [
        {"type": "accuracy", "name": "Accuracy", "value": accuracy},
        {"type": "f1", "name": "Macro F1", "value": f1, "args": {"average": "macro"}},
    ]


def _ranking(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    shown = {"hr_at_10": "Hit rate at 10", "ndcg_at_10": "NDCG at 10"}
    return [{"type": key, "name": name, "value": round(metrics[key], 4)} for key, name in shown.items()]


def _licence(licence: str) -> dict[str, str]:
    """The keys for a licence: an identifier that hubs know, or `other` with a name."""
    known = licence.strip().lower()
    return (
        {"license": known} if known in LICENCES.split() else {"license": "other", "license_name": _id(licence).lower()}
    )


def _percent(numbers: Mapping[str, Any], name: str) -> str:
    """A fraction in per cent, with the bounds of its interval, `<name>_low` and `<name>_high`, if they are known.

    A dash if it is unknown: an empty field or NaN, such as the recall of a class without test images.
    """
    if numbers[name] == "" or math.isnan(float(numbers[name])):
        return "-"
    value, *bounds = (
        f"{100 * float(numbers[key]):.2f}" for key in (name, f"{name}_low", f"{name}_high") if key in numbers
    )
    return f"{value} % ({' to '.join(bounds)})" if bounds else f"{value} %"


def _line(text: str) -> str:
    """The text on one line, without unprintable characters."""
    return " ".join("".join(character for character in text if character.isprintable() or character.isspace()).split())


def _escaped(text: str) -> str:
    """The text on one line as Markdown that shows it literally, also in a table."""
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", html.escape(_line(str(text)), quote=False))


def _id(text: str) -> str:
    """The text as an identifier that hubs accept: ASCII letters, digits and _, joined by single - or . characters."""
    return re.sub(r"\W+", lambda run: "." if run[0] == "." else "-", text, flags=re.ASCII).strip("-.") or "unnamed"
