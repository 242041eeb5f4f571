import csv
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from darkroom.bundle import classifier, manifest
from darkroom.bundle.classifier import FORMAT
from darkroom.bundle.manifest import Conformal, Manifest
from darkroom.export.model_card import card
from tests import bundles

METRICS = {
    "accuracy": 0.9385,
    "accuracy_low": 0.93362,
    "accuracy_high": 0.94304,
    "macro_f1": 0.938509,
    "macro_f1_low": 0.933916,
    "macro_f1_high": 0.943111,
    "loss": 0.2576,
    "samples": 10000,
    "expected_calibration_error": 0.016604,
    "expected_calibration_error_low": 0.0121,
    "expected_calibration_error_high": 0.0204,
    "expected_calibration_error_null": 0.0044,
    "abstention_coverage": 0.8818,
    "abstention_accuracy": 0.9798,
    "conformal_coverage": 0.947,
    "conformal_size": 1.0182,
    "conformal_class_coverage_worst": 0.932,
    "conformal_class_size": 1.0867,
    "ood_auroc": 0.95,
    "ood_auroc_noise": 0.9426,
    "ood_answered": 0.08,
    "ood_answered_noise": 0.078,
}
MANIFEST = Manifest(
    format=FORMAT,
    model="torchvision/resnet18",
    dataset="fashion_mnist",
    title="Fashion-MNIST",
    licence="MIT",
    data_sha256="d" * 64,
    classes=("T-shirt/top", "Coat"),
    shape=(28, 32, 1),
    resize="crop",
    interpolation="bilinear",
    crop_fraction=1.0,
    denoise="none",
    max_pixels=50_000_000,
    intensity_range=None,
    pretrained=None,
    teacher=None,
    opset=20,
    temperature=0.688103,
    threshold=0.901459,
    target_accuracy=0.98,
    target_confidence=0.95,
    validation_examples=5995,
    conformal=Conformal(0.95, 0.35, (0.12, 0.04)),
    metrics=METRICS,
    reference={},
    files={"model.onnx": "a" * 64, "golden.npz": "b" * 64},
)
CSV = """class,precision,recall,f1,support,precision_low,precision_high,recall_low,recall_high
T-shirt/top,0.888666,0.886,0.887331,1000,0.86763,0.906718,0.864807,0.904238
Coat,0.9,0.816,0.856,9000,0.89,0.91,0.80,0.83
"""
PER_CLASS = list(csv.DictReader(io.StringIO(CSV)))
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


def split(text: str) -> tuple[dict, list[Token]]:
    """The front matter and the tokens of the Markdown below it."""
    opened, front, body = re.split(r"^---$\n", text, maxsplit=2, flags=re.MULTILINE)
    assert opened == ""
    return yaml.safe_load(front), MarkdownIt("commonmark").enable("table").parse(body)


def cells(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, as rendered."""
    tables: list[list[list[str]]] = []
    tokens = iter(split(text)[1])
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append(read(next(tokens)))
    return next(rows for (head, *_), *rows in tables if head == heading)


def read(inline: Token) -> str:
    """The rendered text of a line."""
    assert {part.type for part in inline.children} <= {"text", "text_special", "code_inline"}
    return "".join(part.content for part in inline.children)


def shown(text: str) -> str:
    """The text as it should be shown: on one line, without unprintable characters."""
    return " ".join("".join(character for character in text if character.isprintable() or character.isspace()).split())


def test_front_matter_has_the_fields_that_hubs_read():
    found, _ = split(card(MANIFEST, PER_CLASS))
    (model,) = found.pop("model-index")
    assert found == {
        "license": "mit",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "onnx", "onnxruntime", "darkroom"],
        "datasets": ["fashion_mnist"],
        "metrics": ["accuracy", "f1"],
    }
    assert model["name"] == "fashion_mnist-torchvision-resnet18"
    (result,) = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "fashion_mnist", "name": "Fashion-MNIST", "split": "test"}
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("accuracy", 0.9385), ("f1", 0.9385)]


@pytest.mark.parametrize(
    ("licence", "keys"),
    [
        ("CC-BY-SA-3.0", {"license": "cc-by-sa-3.0"}),
        ("unknown", {"license": "other", "license_name": "unknown"}),
        ("not stated: ask (2009)", {"license": "other", "license_name": "not-stated-ask-2009"}),
        ("©", {"license": "other", "license_name": "unnamed"}),
    ],
)
def test_a_licence_is_an_id_that_hubs_know_or_other_with_a_name(licence: str, keys: dict[str, str]):
    found, _ = split(card(replace(MANIFEST, licence=licence), PER_CLASS))
    assert {key: value for key, value in found.items() if key.startswith("license")} == keys


def test_metrics_have_their_intervals():
    text = card(MANIFEST, PER_CLASS)
    assert "93.85 % (93.36 to 94.30) on 10,000 test images" in text
    assert ["accuracy", "93.85 % (93.36 to 94.30)"] in cells(text, "metric")
    assert ["macro F1", "93.85 % (93.39 to 94.31)"] in cells(text, "metric")
    assert ["expected calibration error of the probabilities", "1.66 % (1.21 to 2.04)"] in cells(text, "metric")
    assert "would show a calibration error of 0.44 % by chance" in text
    row = ["T-shirt/top", "88.87 % (86.76 to 90.67)", "88.60 % (86.48 to 90.42)", "88.73 %", "1,000"]
    assert row in cells(text, "class")
    assert "Coat, with a recall of 81.60 % (80.00 to 83.00)" in text  # the weakest class
    assert ["model.onnx", "a" * 64] in cells(text, "file")


def test_a_metric_without_interval_stands_alone():
    metrics = {name: value for name, value in METRICS.items() if not name.startswith("macro_f1_")}
    assert ["macro F1", "93.85 %"] in cells(card(replace(MANIFEST, metrics=metrics), PER_CLASS), "metric")


def test_preprocessing_and_threshold_are_described():
    text = card(MANIFEST, PER_CLASS)
    assert "28 x 32 (height x width), with antialiased\nbilinear interpolation: the largest centred part" in text
    assert "crops them to" not in text
    text = card(replace(MANIFEST, interpolation="bicubic", crop_fraction=0.875), PER_CLASS)
    assert "32 x 36 (height x width), with antialiased\nbicubic interpolation: the largest" in text
    assert "to their centre of 28 x 32. Images of exactly 28 x 32" in text
    assert "median" not in text
    assert "3 x 3 median filter" in card(replace(MANIFEST, denoise="median"), PER_CLASS)


def test_what_the_confidence_is_worth_is_described():
    text = card(MANIFEST, PER_CLASS)
    for part in (
        "below 0.9015",
        "5,995 validation images",
        "95 % confidence",
        "98 % of the others",
        "88.18 %",
        "97.98 %",
    ):
        assert part in text
    assert "The temperature is 1" not in text
    assert "The temperature is 1" in card(replace(MANIFEST, temperature=1.0), PER_CLASS)
    assert [row[1:] for row in cells(text, "prediction sets")] == [
        ["94.70 %", "1.02"],
        ["worst class: 93.20 %", "1.09"],
    ]
    assert cells(text, "images") == [["noise", "94.26 %", "7.80 %"]]


def test_a_missing_threshold_is_said_in_plain_words():
    metrics = {name: value for name, value in METRICS.items() if name != "abstention_accuracy"}
    text = card(replace(MANIFEST, threshold=None, validation_examples=7, metrics=metrics), PER_CLASS)
    assert "No threshold could be shown: 7 validation examples" in text and "0.9015" not in text
    assert cells(text, "images") == [["noise", "94.26 %", "no threshold"]]


def test_a_threshold_that_no_test_image_reaches_has_no_accuracy():
    metrics = {name: value for name, value in METRICS.items() if name != "abstention_accuracy"}
    text = card(replace(MANIFEST, metrics=metrics), PER_CLASS)
    assert "88.18 %\nreach the threshold.\n" in text


@pytest.mark.parametrize("unknown", ["", "nan"])
def test_a_class_without_test_images_is_not_the_weakest(unknown: str):
    absent = {**dict.fromkeys(PER_CLASS[0], unknown), "class": "Hat", "support": "0"}
    text = card(MANIFEST, [absent, *PER_CLASS])
    assert "Coat, with a recall" in text
    assert ["Hat", "-", "-", "-", "0"] in cells(text, "class")


@pytest.mark.parametrize(("licence", "ask"), [("MIT", False), ("unknown", True)])
def test_pretrained_weights_are_named_with_their_licence(licence: str, ask: bool):
    text = " ".join(
        card(replace(MANIFEST, pretrained=manifest.Pretrained("Big net", licence, "f" * 64)), PER_CLASS).split()
    )
    assert f"Big net, licence: {licence}" in text and "f" * 64 in text
    assert ("ask its author" in text) == ask
    assert "fine-tuned" not in card(MANIFEST, PER_CLASS)


def test_a_teacher_is_named_with_its_networks_and_the_licence_of_their_weights():
    weights = (manifest.Pretrained("Big net", "CC-BY-NC", "f" * 64),)
    teacher = manifest.Teacher("big_*one*", ("timm vit", "resnet"), 1_234_567, 0.95125, ("c" * 64, "e" * 64), weights)
    text = " ".join(card(replace(MANIFEST, teacher=teacher), PER_CLASS).split())
    assert r"big\_\*one\* (timm vit, resnet; 1,234,567 parameters)" in text
    assert "95.12 %" in text and f"`{'c' * 64}`, `{'e' * 64}`. " in text
    assert "fine-tuned from Big net, licence: CC-BY-NC." in text
    assert "distilled" not in card(MANIFEST, PER_CLASS)


def test_numbers_and_strings_give_the_same_card():
    numbers = [{key: value if key == "class" else float(value) for key, value in row.items()} for row in PER_CLASS]
    assert card(MANIFEST, numbers) == card(MANIFEST, PER_CLASS)


@given(title=TEXTS, name=TEXTS)
def test_any_title_and_class_is_shown_literally(title: str, name: str):
    rows = [{**PER_CLASS[0], "class": name}, PER_CLASS[1]]
    text = card(replace(MANIFEST, title=title, dataset=title, licence=title, classes=(name, "Coat")), rows)
    found, (_, heading, *_) = split(text)
    assert found["model-index"][0]["results"][0]["dataset"]["name"] == shown(title)
    assert re.fullmatch(r"\w+([.-]\w+)*", found["datasets"][0], re.ASCII)
    assert read(heading) == f"{shown(title)}: image classifier".strip()
    assert cells(text, "class")[0][0] == shown(name)


def test_the_python_example_runs(tmp_path: Path):
    bundles.write(tmp_path / "bundle", threshold=0.95, metrics=MANIFEST.metrics)
    manifest = classifier.read(tmp_path / "bundle", threads=1).manifest
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", card(manifest, PER_CLASS), re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", snippet], cwd=tmp_path / "bundle", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "bundle" / "golden.npz") as golden:
        expected = [bundles.CLASSES[index] for index in golden["probabilities"].argmax(1)]
    assert [line.split()[0] for line in done.stdout.splitlines()] == expected
    assert "below the threshold" in done.stdout
