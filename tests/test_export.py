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

from darkroom import arrays, bundle, checkpoints, models
from darkroom.errors import DarkroomError
from darkroom.export import check_parity, to_onnx
from darkroom.inference import predict
from darkroom.outputs import write_json
from stages import export as stage
from tests import packs

ROOT = Path(__file__).parents[1]
CLASSES = ("round", "square", "Ähnlich")


def trained(name="sprint", shape=(11, 9, 1), std=0.3, arguments=None):
    """A network with drawn weights and lived-in batch norms, and its description."""
    arguments = {"width": 4} if arguments is None else arguments
    torch.manual_seed(1)
    network = models.build(name, arguments, shape, len(CLASSES))
    network(torch.randn(16, shape[2], *shape[:2]))  # in training mode: moves the running statistics off their defaults
    described = checkpoints.Description(
        name, arguments, "toys", "Toys of wood", "CC0-1.0", CLASSES, shape, (0.4,) * shape[2], (std,) * shape[2], "f" * 64, {"lr": 0.1}
    )
    return network.eval(), described


def pictures(n, shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def write_bundle(folder, contents):
    folder.mkdir(exist_ok=True)
    (folder / bundle.FILE).write_bytes(contents)
    return bundle.read(folder, threads=1)


@pytest.fixture(scope="module")
def contents():
    return to_onnx(*trained(), 0.5, 0.75, opset=20)


@pytest.mark.parametrize(
    ("name", "shape", "std", "opset"),
    [("cnn", (12, 10, 3), 0.3, 18), ("resnet", (9, 12, 3), 0.3, 23), ("sprint", (8, 8, 1), 0.0, 20)],  # 0: a channel that never varies
)
def test_bundle_answers_as_the_network_for_any_batch(tmp_path, name, shape, std, opset):
    network, described = trained(name, shape, std)
    exported = write_bundle(tmp_path, to_onnx(network, described, 0.5, None, opset))
    for n in (1, 7):
        images = pictures(n, shape)
        expected = predict(network, images, described.mean, described.std)
        logits, probabilities = bundle.predict(exported, images, batch_size=3)
        assert logits.dtype == probabilities.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(probabilities, torch.from_numpy(expected / np.float32(0.5)).softmax(1), atol=1e-5)
    assert onnx.load(tmp_path / bundle.FILE).opset_import[0].version == opset


def test_bundle_says_what_it_is(tmp_path, contents):
    exported = write_bundle(tmp_path, contents)
    assert (exported.dataset, exported.title, exported.licence, exported.data_sha256) == ("toys", "Toys of wood", "CC0-1.0", "f" * 64)
    assert (exported.classes, exported.shape) == (CLASSES, (11, 9, 1))
    assert (exported.temperature, exported.threshold) == (0.5, 0.75)
    (image,) = exported.session.get_inputs()
    assert (image.name, image.type, image.shape) == ("images", "tensor(uint8)", ["batch", 11, 9, 1])
    assert [(output.name, output.shape) for output in exported.session.get_outputs()] == [("logits", ["batch", 3]), ("probabilities", ["batch", 3])]
    onnx.checker.check_model(onnx.load_from_string(contents), full_check=True)


def test_no_trace_of_where_it_was_made(contents):
    model = onnx.load_from_string(contents)
    parts = [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer, *model.graph.input, *model.graph.output]
    assert not any(part.metadata_props or part.doc_string for part in parts)
    assert not model.functions
    for trace in (str(ROOT), str(Path(torch.__file__).parents[1]), ".py"):
        assert trace.encode() not in contents


def test_parity_of_equal_and_nearly_equal_answers():
    expected = np.array([[1.0, 2.0], [0.5, 0.25]], dtype=np.float32)
    probabilities = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)
    assert check_parity(expected, expected, probabilities, 1e-3) == {"max_abs_difference": 0.0, "label_disagreements": 0, "samples": 2}
    shifted = expected + np.array([[0.0, 0.125], [0.0, 0.0]], dtype=np.float32)
    assert check_parity(expected, shifted, probabilities, 0.125)["max_abs_difference"] == 0.125
    with pytest.raises(DarkroomError, match=r"labels 0 of 2 test pictures otherwise, and its logits differ by up to 0\.125 \(export\.tolerance = 0\.1\)"):
        check_parity(expected, shifted, probabilities, 0.1)
    with pytest.raises(DarkroomError, match="labels 1 of 2 test pictures otherwise"):
        check_parity(expected, expected, probabilities[[0, 0]], 1.0)


def test_a_label_that_differs_within_rounding_is_refused_too_and_told_apart():
    expected = np.array([[1.0, 1.0 + 2.0**-18], [2.0, 0.0]], dtype=np.float32)
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25]], dtype=np.float32)
    with pytest.raises(DarkroomError, match=r"labels 1 of 2 test pictures otherwise.*logits of these labels lie 3\.8e-06 or less apart"):
        check_parity(expected, expected, probabilities, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("place", "whose"), [(0, "trained"), (1, "exported"), (2, "exported")])
def test_parity_refuses_what_is_not_finite(place, whose, value):
    answers = [np.zeros((3, 2), dtype=np.float32) for _ in range(3)]
    answers[place][1, 0] = value
    with pytest.raises(DarkroomError, match=f"The {whose} model's answer to 1 of 3 test pictures"):
        check_parity(*answers, tolerance=1.0)


def test_damaged_or_foreign_bundles_are_refused(tmp_path, contents):
    with pytest.raises(DarkroomError, match=r"model\.onnx is missing"):
        bundle.read(tmp_path, threads=1)
    for damaged in (b"", contents[: len(contents) // 2], b"no protobuf at all"):
        with pytest.raises(DarkroomError, match=r"model\.onnx cannot be read"):
            write_bundle(tmp_path, damaged)
    foreign = onnx.load_from_string(contents)
    del foreign.metadata_props[:]
    with pytest.raises(DarkroomError, match=r"model\.onnx cannot be read"):
        write_bundle(tmp_path, foreign.SerializeToString())


def test_latency_is_a_positive_number_of_milliseconds(tmp_path, contents):
    assert 0 < bundle.latency_ms(write_bundle(tmp_path, contents), repeats=10) < 1000


def test_reading_a_bundle_needs_no_torch():
    subprocess.run([sys.executable, "-c", "import sys, darkroom.bundle; sys.exit('torch' in sys.modules)"], cwd=ROOT, check=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a trained model and its arrays; the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    network, described = trained()
    splits = {
        name: arrays.Split(pictures(n, described.shape), np.arange(n) % 3, np.array([f"{name}/{i}" for i in range(n)]))
        for name, n in (("train", 6), ("val", 3), ("test", 501))  # more than a batch
    }
    known = {"dataset": "toys", "title": "Toys", "licence": "CC0-1.0", "classes": CLASSES, "augmentation": arrays.Augmentation(flip=False, shift=0)}
    manifest = packs.write("data/arrays", splits, known)
    described = checkpoints.describe(described.name, described.arguments, manifest, {})
    checkpoints.save("models/trained", network, described)
    write_json("models/calibration.json", {"temperature": 0.5, "threshold": None})
    return network, described


def test_stage_in_another_process_leaves_the_same_bytes_and_its_metrics(project, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-W", "error", "-m", "stages.export"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1  # its own line: the exporter is silent
    assert "torch.onnx" not in done.stdout + done.stderr
    assert (tmp_path / "models/bundle/model.onnx").read_bytes() == to_onnx(*project, 0.5, None, opset=20)
    metrics = json.loads(Path("metrics/export.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"max_abs_difference", "label_disagreements", "samples", "size_mb", "opset"}
    assert (metrics["label_disagreements"], metrics["samples"], metrics["opset"]) == (0, 501, 20)
    assert metrics["max_abs_difference"] < 1e-3
    assert set(json.loads(Path("metrics/cost/export.json").read_text(encoding="utf-8"))) == {"seconds", "peak_memory_mb", "latency_ms"}


def test_failed_gate_keeps_the_earlier_bundle(project, monkeypatch):
    earlier = Path("models/bundle/model.onnx")
    earlier.parent.mkdir()
    earlier.write_bytes(b"earlier")
    monkeypatch.setattr(stage, "predict", lambda network, images, mean, std: predict(network, images, mean, std) + np.float32(0.5))
    with pytest.raises(DarkroomError, match=r"labels 0 of 501 test pictures otherwise, and its logits differ by up to 0\.5"):
        stage.main()
    assert {path.name for path in Path("models").iterdir()} == {"bundle", "trained", "calibration.json"}
    assert earlier.read_bytes() == b"earlier"
    assert not Path("metrics").exists()


def test_model_of_other_data_is_refused(project):
    network, described = project
    checkpoints.save("models/trained", network, checkpoints.Description(**{**vars(described), "data_sha256": "0" * 64}))
    with pytest.raises(DarkroomError, match="trained on other data"):
        stage.main()
    assert not Path("models/bundle").exists()
