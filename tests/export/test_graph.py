import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml

from darkroom.bundle import classifier
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json, write_text
from darkroom.export.graph import contents, golden, to_onnx
from darkroom.export.resizing import resizer
from darkroom.models import checkpoints, registry
from darkroom.models.inference import predict
from stages import export as stage
from tests import packs

ROOT = Path(__file__).parents[2]
CLASSES = ("round", "square", "Ähnlich")


def trained(name="sprint", shape=(11, 9, 1), std=0.3, arguments=None):
    """A network with drawn weights and lived-in batch norms, and its description."""
    arguments = {"width": 4} if arguments is None else arguments
    torch.manual_seed(1)
    network = registry.build(name, arguments, shape, len(CLASSES))
    network(torch.randn(16, shape[2], *shape[:2]))  # in training mode: moves the running statistics off their defaults
    described = checkpoints.Description(
        name,
        arguments,
        "toys",
        "Toys of wood",
        "CC0-1.0",
        CLASSES,
        shape,
        (0.4,) * shape[2],
        (std,) * shape[2],
        "f" * 64,
        {"lr": 0.1},
    )
    return network.eval(), described


def pictures(n, shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def exported(network, described, temperature=0.5, threshold=0.75, resize="stretch", opset=20):
    return contents(to_onnx(network, described, temperature, opset), described, temperature, threshold, resize)


@pytest.fixture(scope="module")
def model():
    return exported(*trained())


@pytest.mark.parametrize(
    ("name", "shape", "std", "opset", "resize"),
    [
        ("cnn", (12, 10, 3), 0.3, 18, "pad"),
        ("resnet", (9, 12, 3), 0.3, 23, "crop"),
        ("sprint", (8, 8, 1), 0.0, 20, "stretch"),
    ],  # 0: a channel that never varies
)
def test_model_answers_as_the_network_for_any_batch_and_any_size(name, shape, std, opset, resize):
    network, described = trained(name, shape, std)
    held = exported(network, described, resize=resize, opset=opset)
    session = classifier.open_session(held, threads=1)
    for n in (1, 7):
        images = pictures(n, shape)
        expected = predict(network, images, described.mean, described.std)
        logits, probabilities = classifier.answers(session, images, batch_size=3)
        assert logits.dtype == probabilities.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(probabilities, torch.from_numpy(expected / np.float32(0.5)).softmax(1), atol=1e-5)
    assert [entry.version for entry in onnx.load_from_string(held).opset_import] == [opset]

    others = pictures(2, (31, 17, shape[2]))
    resizes = classifier.open_session(resizer(shape, resize, opset).SerializeToString(), threads=1)
    resized = resizes.run(None, {"images": others})[0]
    np.testing.assert_array_equal(classifier.answers(session, others)[0], classifier.answers(session, resized)[0])


def test_model_says_what_it_is(model):
    session = classifier.open_session(model, threads=1)
    known = session.get_modelmeta().custom_metadata_map
    assert {name: known[name] for name in ("dataset", "title", "licence", "data_sha256")} == {
        **{"dataset": "toys", "title": "Toys of wood", "licence": "CC0-1.0", "data_sha256": "f" * 64}
    }
    assert (json.loads(known["classes"]), json.loads(known["shape"])) == (list(CLASSES), [11, 9, 1])
    assert (json.loads(known["temperature"]), json.loads(known["threshold"])) == (0.5, 0.75)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("images", "tensor(uint8)", ["batch", "height", "width", 1])
    assert [(output.name, output.shape) for output in session.get_outputs()] == [
        ("logits", ["batch", 3]),
        ("probabilities", ["batch", 3]),
    ]
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)


def test_no_trace_of_where_it_was_made(model):
    read = onnx.load_from_string(model)
    parts = [
        read.graph,
        *read.graph.node,
        *read.graph.value_info,
        *read.graph.initializer,
        *read.graph.input,
        *read.graph.output,
    ]
    assert not any(part.metadata_props or part.doc_string for part in parts)
    assert not read.functions
    for trace in (str(ROOT), str(Path(torch.__file__).parents[1]), ".py", "/tmp"):
        assert trace.encode() not in model


def test_golden_pictures_are_the_same_each_time_and_unlike_each_other(model):
    held = golden({"fp32": model, "int8": model}, (11, 9, 1))
    assert golden({"fp32": model, "int8": model}, (11, 9, 1)) == held
    with np.load(io.BytesIO(held), allow_pickle=False) as file:
        arrays_of = dict(file)
    assert set(arrays_of) == {"images", "logits", "probabilities", "int8_logits", "int8_probabilities"}
    images = arrays_of["images"]
    assert (images.shape, images.dtype) == ((8, 11, 9, 1), np.uint8)
    assert len(np.unique(images.reshape(8, -1), axis=0)) == 8
    for name, answer in zip(
        ("logits", "probabilities"), classifier.answers(classifier.open_session(model, 1), images), strict=True
    ):
        np.testing.assert_array_equal(arrays_of[name], answer)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a trained model, its arrays and what evaluate left; the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    network, described = trained()
    splits = {
        name: arrays.Split(pictures(n, described.shape), np.arange(n) % 3, np.array([f"{name}/{i}" for i in range(n)]))
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
    described = checkpoints.describe(described.name, described.arguments, manifest, {})
    checkpoints.save("models/trained", network, described)
    write_json("models/calibration.json", {"temperature": 0.5, "threshold": None})
    labels = predict(network, splits["test"].images, manifest.mean, manifest.std).argmax(1)
    calibrated = {"ece": 0.25, "brier": 0.5}
    accuracy = float((labels == splits["test"].labels).mean())
    measured = {
        "accuracy": accuracy,
        "accuracy_low": 0.0,
        "accuracy_high": 1.0,
        "macro_f1": 0.3,
        "samples": 501,
        "calibration": {"after": calibrated},
    }
    write_json("metrics/evaluate.json", measured | {"abstention": {"threshold": None}})
    header, row = (
        "class,precision,recall,f1,support,precision_low,precision_high,recall_low,recall_high",
        "0.5,0.5,0.5,167,0.4,0.6,0.4,0.6",
    )
    write_text("metrics/evaluate/per_class.csv", "\n".join([header, *(f"{name},{row}" for name in CLASSES)]) + "\n")
    return network, described


def relax(**limits):
    """Changes the limits of the model in 8 bits in params.yaml."""
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["export"]["int8"] |= limits
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def test_stage_in_another_process_leaves_the_same_bytes_and_its_metrics(project, tmp_path):
    network, described = project
    relax(max_accuracy_drop=0.99, min_agreement=0.0, min_speedup=0.0)
    stage.main()
    left = {path.name: path.read_bytes() for path in Path("models/bundle").iterdir()}
    assert set(left) == {"README.md", "golden.npz", "manifest.json", "model.int8.onnx", "model.onnx"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "stages.export"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2  # its own lines: the libraries are silent
    assert done.stderr == ""
    assert {path.name: path.read_bytes() for path in Path("models/bundle").iterdir()} == left
    assert left["model.onnx"] == exported(network, described, threshold=None)
    assert not any(str(place).encode() in held for held in left.values() for place in (tmp_path, ROOT))

    metrics = json.loads(Path("metrics/export.json").read_text(encoding="utf-8"))
    assert set(metrics) == {
        "max_abs_difference",
        "label_disagreements",
        "samples",
        "resize_max_difference",
        "size_mb",
        "opset",
        "int8",
    }
    assert (metrics["label_disagreements"], metrics["samples"], metrics["opset"]) == (0, 501, 20)
    assert metrics["max_abs_difference"] < 1e-4
    assert metrics["resize_max_difference"] <= 1
    assert (metrics["int8"]["published"], metrics["int8"]["reason"]) == (True, None)
    costs = json.loads(Path("metrics/cost/export.json").read_text(encoding="utf-8"))
    assert set(costs) == {"seconds", "peak_memory_mb", "latency_ms", "int8_speedup"}

    for variant in ("fp32", "int8"):
        found = classifier.read("models/bundle", threads=1, variant=variant)
        classifier.check_golden(found, "models/bundle")
    manifest = found.manifest
    assert (manifest.model, manifest.classes, manifest.shape, manifest.data_sha256) == (
        "sprint",
        CLASSES,
        (11, 9, 1),
        described.data_sha256,
    )
    assert (manifest.resize, manifest.denoise, manifest.temperature, manifest.threshold) == (
        "stretch",
        "none",
        0.5,
        None,
    )
    assert {"accuracy", "accuracy_low", "accuracy_high", "macro_f1", "samples", "ece", "brier"} == set(manifest.metrics)
    assert (manifest.metrics["ece"], manifest.metrics["samples"]) == (0.25, 501)
    assert manifest.reference["samples"] == 30


def test_8_bits_that_miss_a_gate_are_not_published_and_the_metrics_say_why(project):
    relax(min_speedup=1e6)
    stage.main()
    judged = json.loads(Path("metrics/export.json").read_text(encoding="utf-8"))["int8"]
    assert not judged["published"]
    assert "it is not 1e+06 times as fast" in judged["reason"]
    assert set(classifier.read("models/bundle", threads=1).manifest.files) == {"model.onnx", "golden.npz"}
    assert not Path("models/bundle/model.int8.onnx").exists()


def test_failed_gate_keeps_the_earlier_bundle(project, monkeypatch):
    earlier = Path("models/bundle/model.onnx")
    earlier.parent.mkdir()
    earlier.write_bytes(b"earlier")
    monkeypatch.setattr(
        stage, "predict", lambda network, images, mean, std: predict(network, images, mean, std) + np.float32(0.5)
    )
    with pytest.raises(
        DarkroomError, match=r"labels 0 of 501 test pictures otherwise, and its logits differ by up to 0\.5"
    ):
        stage.main()
    monkeypatch.setattr(stage, "predict", predict)
    evaluated = json.loads(Path("metrics/evaluate.json").read_text(encoding="utf-8"))
    write_json("metrics/evaluate.json", evaluated | {"accuracy": evaluated["accuracy"] + 1 / 501})
    with pytest.raises(DarkroomError, match=r"of the test pictures, but metrics/evaluate\.json says"):
        stage.main()
    assert {path.name for path in Path("models").iterdir()} == {"bundle", "trained", "calibration.json"}
    assert earlier.read_bytes() == b"earlier"
    assert not Path("metrics/export.json").exists()


def test_model_of_other_data_is_refused(project):
    network, described = project
    checkpoints.save("models/trained", network, checkpoints.Description(**{**vars(described), "data_sha256": "0" * 64}))
    with pytest.raises(DarkroomError, match="trained on other data"):
        stage.main()
    assert not Path("models/bundle").exists()
