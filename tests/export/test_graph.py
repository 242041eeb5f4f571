import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from darkroom.bundle import classifier
from darkroom.export import graph
from darkroom.export.resizing import resizer
from darkroom.inputs.denoising import denoise
from darkroom.models.inference import predict
from tests.export.small import CLASSES, SHAPE, exported, images, trained

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    return exported(*trained())


@pytest.fixture(scope="module")
def denoising_model():
    return exported(*trained(), denoise="median")


def outputs(model, given):
    """The logits of an ONNX file."""
    return classifier.answers(classifier.open_session(model, threads=1), given, batch_size=3)[0]


@pytest.mark.parametrize(
    ("name", "shape", "std", "opset", "resize"),
    [
        ("cnn", (12, 10, 3), 0.3, 18, "pad"),
        ("resnet", (9, 12, 3), 0.3, 23, "crop"),
        ("sprint", (8, 8, 1), 0.0, 20, "stretch"),
    ],  # std 0: a constant channel
)
def test_model_equals_the_network_for_any_batch_and_any_size(name, shape, std, opset, resize):
    network, described = trained(name, shape, std)
    held = exported(network, described, resize=resize, opset=opset)
    session = classifier.open_session(held, threads=1)
    for n in (1, 7):
        given = images(n, shape)
        expected = predict(network, given, described.mean, described.std)
        logits, probabilities = classifier.answers(session, given, batch_size=3)
        assert logits.dtype == probabilities.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(probabilities, torch.from_numpy(expected / np.float32(0.5)).softmax(1), atol=1e-5)
    assert [entry.version for entry in onnx.load_from_string(held).opset_import] == [opset]

    others = images(2, (31, 17, shape[2]))
    resizes = classifier.open_session(resizer(shape, resize, "bilinear", 1.0, opset).SerializeToString(), threads=1)
    np.testing.assert_array_equal(outputs(held, others), outputs(held, resizes.run(None, {"images": others})[0]))


def test_median_model_equals_the_network_on_denoised_images(denoising_model):
    network, described = trained()
    given = images(7)
    expected = predict(network, denoise(given, "median"), described.mean, described.std)
    np.testing.assert_allclose(outputs(denoising_model, given), expected, atol=1e-4, rtol=1e-5)
    assert np.abs(expected - predict(network, given, described.mean, described.std)).max() > 0.1


@pytest.mark.parametrize(("shape", "opset"), [(SHAPE, 18), ((1, 5, 3), 20), ((6, 1, 1), 23)])
def test_median_in_the_graph_equals_that_before_training_exactly(shape, opset):
    _, described = trained()
    described = type(described)(**{**vars(described), "shape": shape})
    given = images(5, shape)
    filtered = graph._to_onnx(graph._trace(graph._Median(), described), "images", [graph.DENOISED], opset)
    session = classifier.open_session(filtered.SerializeToString(), threads=1)
    np.testing.assert_array_equal(session.run(None, {"images": given})[0], denoise(given, "median"))


def test_median_comes_after_the_resize(model, denoising_model):
    given = images(2, (31, 17, 1))
    resizes = classifier.open_session(resizer(SHAPE, "stretch", "bilinear", 1.0, 20).SerializeToString(), threads=1)
    resized = resizes.run(None, {"images": given})[0]
    np.testing.assert_array_equal(outputs(denoising_model, given), outputs(model, denoise(resized, "median")))


def test_traced_program_denoises_if_asked():
    network, described = trained()
    given = images(3)
    plain, filtering = (graph.trace(network, described, 0.5, method).module() for method in ("none", "median"))
    logits, probabilities = filtering(torch.from_numpy(given))
    torch.testing.assert_close(logits, plain(torch.from_numpy(denoise(given, "median")))[0], rtol=0, atol=0)
    torch.testing.assert_close(probabilities, (logits / 0.5).softmax(1))


def test_metadata_describes_the_model(model):
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


@pytest.mark.parametrize("name", ["model", "denoising_model"])
def test_model_is_valid_and_holds_no_trace_of_its_origin(name, request):
    held = request.getfixturevalue(name)
    read = onnx.load_from_string(held)
    onnx.checker.check_model(read, full_check=True)
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
        assert trace.encode() not in held


def test_same_arguments_give_the_same_bytes(denoising_model):
    assert exported(*trained(), denoise="median") == denoising_model
