"""Tests of the export of texts: the whole stage with a small network."""

import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from darkroom.bundle import classifier
from darkroom.bundle.texts import TextClassifier
from darkroom.core import arrays
from darkroom.core.outputs import write_json, write_text
from darkroom.models import checkpoints, registry
from darkroom.models.inference import predict
from stages import export as stage
from tests.export.test_stage import CALIBRATION, MEASURED
from tests.preprocess.test_texts import pack, rows

ROOT = Path(__file__).parents[2]
FOLDER = Path("data/datasets/mine")
ARGUMENTS = {"embed_dim": 8, "channels": 8, "dropout": 0.0}
FAQ = "question,answer,intent\nWhere is my card?,On its way.,lost\nWhat is the fee?,None.,stolen\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project with a network of texts that says it was pretrained; the working directory."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    manifest = pack(tmp_path, rows())
    (tmp_path / "arrays").rename(tmp_path / "data/arrays")
    with chdir(tmp_path):
        network = registry.build("text_cnn", ARGUMENTS, manifest.shape, 2).eval()
        save(network, manifest, {"title": "Tiny", "licence": "MIT", "sha256": "0" * 64})
        test = arrays.read_split("data/arrays", "test")
        correct = predict(network, test.inputs, (), ()).argmax(1) == test.labels
        write_json("metrics/evaluate.json", {"accuracy": float(correct.mean()), "samples": len(test), **MEASURED})
        names = ("precision", "recall", "f1")
        header = ["class", "support", *names, *(f"{name}_{end}" for name in names[:2] for end in ("low", "high"))]
        lines = [",".join([name, "2", *["0.5"] * (len(header) - 2)]) for name in manifest.classes]
        write_text("metrics/evaluate/per_class.csv", "\n".join([",".join(header), *lines]) + "\n")
        conformal = {"coverage": 0.95, "marginal": 0.25, "class_conditional": [0.5, 0.5]}
        write_json("models/calibration.json", CALIBRATION | {"conformal": conformal})
        yield tmp_path


def save(network, manifest: arrays.Manifest, pretrained: dict | None) -> None:
    params = {"device": "cpu", "pretrained": pretrained}
    checkpoints.save("models/trained", network, checkpoints.describe("text_cnn", ARGUMENTS, manifest, params))


def export() -> tuple[TextClassifier, dict]:
    stage.main()
    bundle = classifier.read("models/bundle", threads=1)
    return TextClassifier(bundle), json.loads(Path("metrics/export.json").read_text(encoding="utf-8"))


def test_the_bundle_answers_from_both_tables(project: Path, capsys: pytest.CaptureFixture):
    (FOLDER / "answers.csv").write_text("intent,answer\nlost,Sorry!\n", encoding="utf-8")
    (FOLDER / "faq.csv").write_text(FAQ, encoding="utf-8")
    exported, metrics = export()
    assert exported.answers == {"lost": {"": "Sorry!"}}
    assert [entry["answer"] for entry in exported.faq.entries] == ["On its way.", "None."]
    assert np.linalg.norm(exported.faq.embeddings, axis=1) == pytest.approx([1, 1])
    ids, _ = exported.tokenizer.ids(["What is the fee?"])
    _, probabilities, embeddings = exported.run(ids)
    [found] = exported.faq.nearest(embeddings)
    assert (found["answer"], found["similarity"]) == ("None.", pytest.approx(1))
    assert probabilities[0] == pytest.approx(exported.predict(["What is the fee?"])[1][0])
    assert (metrics["faq_questions"], metrics["faq_tested"]) == (2, 4)
    assert 0 <= metrics["faq_recall_at_1"] <= metrics["faq_recall_at_3"] == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("contents", ["question,answer\na\n", "\0", None])
def test_without_usable_questions_the_bundle_is_complete(project: Path, contents: str | None, capsys):
    if contents:
        (FOLDER / "faq.csv").write_text(contents, encoding="utf-8")
    exported, metrics = export()
    assert exported.faq is None and exported.predict(["card"])[1].shape == (1, 2)
    assert not [name for name in metrics if name.startswith("faq")]
    assert capsys.readouterr().err.count("\n") == bool(contents)


def test_questions_need_a_pretrained_encoder(project: Path, capsys: pytest.CaptureFixture):
    (FOLDER / "faq.csv").write_text(FAQ, encoding="utf-8")
    network, _ = checkpoints.load("models/trained")
    save(network, arrays.read_manifest("data/arrays"), None)
    exported, _ = export()
    assert exported.faq is None
    assert "model.pretrained" in capsys.readouterr().err
