import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from darkroom.bundle import classifier, drift
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json, write_text
from darkroom.export import gates
from darkroom.inputs import resizing
from darkroom.inputs.denoising import denoise
from darkroom.models import checkpoints
from darkroom.models.inference import predict
from darkroom.predict import batch
from darkroom.serve import service
from darkroom.serve.settings import Settings
from stages import export as stage
from tests import packs
from tests.export.small import CLASSES, exported, images, trained

ROOT = Path(__file__).parents[2]
CALIBRATION = {
    "temperature": 0.5,
    "threshold": None,
    "target_accuracy": 0.98,
    "target_confidence": 0.95,
    "validation_examples": 30,
    "conformal": {"coverage": 0.95, "marginal": 0.25, "class_conditional": [0.5, 0.0, 0.125]},
}
MEASURED = {  # by evaluate, besides the accuracy
    "accuracy_low": 0.0,
    "accuracy_high": 1.0,
    "macro_f1": 0.3,
    "expected_calibration_error": 0.25,
    "expected_calibration_error_null": 0.05,
    "abstention_threshold": None,
    "abstention_coverage": 0.0,
    "conformal_coverage": 0.95,
    "conformal_size": 2.5,
    "conformal_class_coverage_worst": 0.94,
    "conformal_class_size": 2.5,
}
RELAXED = {"max_accuracy_drop": 0.99, "min_agreement": 0.0}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a trained model, its arrays and the results of evaluate; the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    network, described = trained()
    splits = {
        name: arrays.Split(images(n, described.shape), np.arange(n) % 3, np.array([f"{name}/{i}" for i in range(n)]))
        for name, n in (("train", 60), ("val", 30), ("test", 501))  # more than a batch
    }
    known = {
        "dataset": "toys",
        "title": "Toys",
        "licence": "CC0-1.0",
        "classes": CLASSES,
        "augmentation": arrays.Augmentation(flip=False, shift=0),
    }
    manifest = packs.write("data/arrays", splits, known)
    described = checkpoints.describe(described.name, described.arguments, manifest, {"device": "cpu"})
    checkpoints.save("models/trained", network, described)
    write_json("models/calibration.json", CALIBRATION)
    labels = predict(network, splits["test"].inputs, manifest.mean, manifest.std).argmax(1)
    accuracy = float((labels == splits["test"].labels).mean())
    write_json("metrics/evaluate.json", {"accuracy": accuracy, "samples": 501, **MEASURED})
    header = "class,precision,recall,f1,support,precision_low,precision_high,recall_low,recall_high"
    rows = [f"{name},0.5,0.5,0.5,167,0.4,0.6,0.4,0.6" for name in CLASSES]
    write_text("metrics/evaluate/per_class.csv", "\n".join([header, *rows]) + "\n")
    return network, described


def change(section, **values):
    """Changes parameters in params.yaml; of export, those of int8."""
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    (params["export"]["int8"] if section == "int8" else params[section]).update(values)
    path.write_text(yaml.safe_dump(params), encoding="utf-8")


def read(name):
    return json.loads(Path(name).read_text(encoding="utf-8"))


def test_another_process_writes_the_same_bytes_and_metrics(project, tmp_path):
    network, described = project
    change("int8", **RELAXED)
    stage.main()
    written = {path.name: path.read_bytes() for path in Path("models/bundle").iterdir()}
    assert set(written) == {"README.md", "golden.npz", "manifest.json", "model.int8.onnx", "model.onnx"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "stages.export"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2  # its own lines: the libraries are silent
    assert done.stderr == ""
    assert {path.name: path.read_bytes() for path in Path("models/bundle").iterdir()} == written
    assert written["model.onnx"] == exported(network, described, threshold=None)
    assert not any(str(folder).encode() in held for held in written.values() for folder in (tmp_path, ROOT))

    metrics = read("metrics/export.json")
    assert set(metrics) == {
        "max_abs_difference",
        "label_disagreements",
        "samples",
        "resize_max_difference",
        "int8_published",
        "int8_accuracy",
        "int8_agreement",
        "int8_samples",
        "int8_reason",
        "size_mb",
        "opset",
    }
    assert (metrics["label_disagreements"], metrics["samples"], metrics["opset"]) == (0, 501, 20)
    assert metrics["max_abs_difference"] < 1e-4
    assert metrics["resize_max_difference"] <= 1
    assert (metrics["int8_published"], metrics["int8_reason"]) == (True, None)
    assert set(read("metrics/cost/export.json")) == {"seconds", "peak_memory_mb", "latency_ms", "int8_speedup"}

    for variant in ("fp32", "int8"):
        found = classifier.read("models/bundle", threads=1, variant=variant)
        classifier.check_golden(found, "models/bundle")
    manifest = found.manifest
    assert (manifest.model, manifest.classes, manifest.shape) == ("sprint", CLASSES, (11, 9, 1))
    assert manifest.data_sha256 == described.data_sha256
    assert (manifest.resize, manifest.denoise) == ("stretch", "none")
    assert {name: read("models/bundle/manifest.json")[name] for name in CALIBRATION} == CALIBRATION
    evaluated = read("metrics/evaluate.json")
    del evaluated["abstention_threshold"]  # it is not a number here
    assert manifest.metrics == evaluated
    assert manifest.reference["samples"] == 30


def test_a_bundle_with_median_filter_equals_the_network_on_denoised_images(project, monkeypatch):
    network, described = project
    change("preprocess", denoise="median")
    change("int8", **RELAXED)
    stage.main()
    given = images(10, described.shape)
    expected = predict(network, denoise(given, "median"), described.mean, described.std)
    assert np.abs(expected - predict(network, given, described.mean, described.std)).max() > 0.1
    for variant in ("int8", "fp32"):
        bundle = classifier.read("models/bundle", threads=1, variant=variant)
        classifier.check_golden(bundle, "models/bundle")
        assert bundle.manifest.denoise == "median"
    logits, probabilities = classifier.predict(bundle, given)
    np.testing.assert_allclose(logits, expected, atol=1e-4)

    # Files get the same predictions as tensors
    for number, image in enumerate(given):
        Image.fromarray(image[..., 0]).save(f"{number}.png")
    (block,) = batch.answers(bundle, (f"{number}.png" for number in range(10)), 1)
    np.testing.assert_allclose([answer for _, answer in block], probabilities, atol=1e-6)
    seen = []
    monkeypatch.setattr(service, "brightness", lambda images: seen.append(images) or drift.brightness(images))
    served = service.Service(Settings(bundle=Path("models/bundle"), threads=1, timeout=60))
    outcomes = asyncio.run(served.classify([Path(f"{number}.png").read_bytes() for number in range(10)]))
    np.testing.assert_allclose([outcome.probabilities for outcome in outcomes], probabilities, atol=1e-6)
    _, _, of_tensors = asyncio.run(served.infer(given))
    served.close()
    np.testing.assert_allclose(of_tensors, probabilities, atol=1e-6)
    np.testing.assert_array_equal(seen[-1], denoise(given, "median"))  # as in the drift reference

    # The stored images are denoised already: the checks and the drift reference do not filter them again
    assert read("metrics/export.json")["label_disagreements"] == 0
    plain = classifier.open_session(exported(network, described, threshold=None), threads=1)
    val = arrays.read_split("data/arrays", "val").inputs
    reference = drift.reference(val, classifier.answers(plain, val)[1])
    assert read("models/bundle/manifest.json")["reference"] == reference


def test_int8_that_fails_a_check_is_not_published_and_the_metrics_say_why(project, monkeypatch):
    monkeypatch.setattr(gates, "measure_speedup", lambda models, image: 1.25)
    change("int8", min_speedup=1.3, **RELAXED)
    stage.main()
    judged = read("metrics/export.json")
    assert judged["int8_published"] is False
    assert judged["int8_reason"].startswith("speedup is 1.25")
    assert set(classifier.read("models/bundle", threads=1).manifest.files) == {"model.onnx", "golden.npz"}
    assert not Path("models/bundle/model.int8.onnx").exists()


def test_files_and_tensors_are_resized_and_cropped_alike(project):
    network, described = project
    change("preprocess", resize="crop", interpolation="bicubic", crop_fraction=0.7, denoise="median")
    change("int8", **RELAXED)
    stage.main()
    bundle = classifier.read("models/bundle", threads=1)
    assert (bundle.manifest.interpolation, bundle.manifest.crop_fraction) == ("bicubic", 0.7)
    photos = images(5, (20, 31, 1))
    whole = np.stack([resizing.pixels(Image.fromarray(one[..., 0]), (15, 12), 1, "crop", "bicubic") for one in photos])
    seen = denoise(whole[:, 2:13, 2:11], "median")
    expected = predict(network, seen, described.mean, described.std)
    np.testing.assert_allclose(classifier.predict(bundle, photos)[0], expected, atol=1e-4)
    for number, photo in enumerate(photos):
        Image.fromarray(photo[..., 0]).save(f"{number}.png")
    decoded = np.stack([classifier.decode_image(bundle.manifest, Path(f"{n}.png").read_bytes()) for n in range(5)])
    np.testing.assert_allclose(classifier.predict(bundle, decoded)[0], expected, atol=1e-4)


def test_a_failed_check_keeps_the_earlier_bundle(project, monkeypatch):
    earlier = Path("models/bundle/model.onnx")
    earlier.parent.mkdir()
    earlier.write_bytes(b"earlier")
    monkeypatch.setattr(
        stage, "predict", lambda network, images, mean, std: predict(network, images, mean, std) + np.float32(0.5)
    )
    with pytest.raises(DarkroomError, match=r"0 of 501 test examples .*up to 0\.5"):
        stage.main()
    monkeypatch.setattr(stage, "predict", predict)
    evaluated = read("metrics/evaluate.json")
    write_json("metrics/evaluate.json", evaluated | {"accuracy": evaluated["accuracy"] + 1 / 501})
    with pytest.raises(DarkroomError, match=r"metrics/evaluate\.json says"):
        stage.main()
    assert {path.name for path in Path("models").iterdir()} == {"bundle", "trained", "calibration.json"}
    assert earlier.read_bytes() == b"earlier"
    assert not Path("metrics/export.json").exists()


def test_a_model_of_other_data_is_rejected(project):
    network, described = project
    checkpoints.save("models/trained", network, checkpoints.Description(**{**vars(described), "data_sha256": "0" * 64}))
    with pytest.raises(DarkroomError, match="trained on other data"):
        stage.main()
    assert not Path("models/bundle").exists()
