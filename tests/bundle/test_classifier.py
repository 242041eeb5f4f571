import hashlib
import io
import json
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import asdict, fields, replace
from functools import reduce
from itertools import product
from operator import getitem
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darkroom.bundle import classifier, drift
from darkroom.bundle.manifest import Conformal
from darkroom.core.errors import DarkroomError
from darkroom.inputs import image as image_input
from darkroom.inputs import resizing
from tests import bundles
from tests.code import ROOT


@pytest.fixture
def folder(tmp_path):
    bundles.write(tmp_path / "bundle")
    return tmp_path / "bundle"


CONFORMAL = {"coverage": 0.95, "marginal": 0.2, "class_conditional": [0.3, 0.1]}
TWO_CLASSES = {"classes": ["a", "b"], "conformal": CONFORMAL}


def png(image):
    contents = io.BytesIO()
    Image.fromarray(image).save(contents, "PNG")
    return contents.getvalue()


def change(folder, **fields):
    """Change fields of the manifest; None removes a field."""
    path = folder / "manifest.json"
    changed = json.loads(path.read_text()) | fields
    removed = {name for name, value in fields.items() if value is None}
    path.write_text(json.dumps({name: value for name, value in changed.items() if name not in removed}))


def add(folder, name, contents):
    """Add a file to the bundle and to its manifest."""
    (folder / name).write_bytes(contents)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    change(folder, files=files | {name: hashlib.sha256(contents).hexdigest()})


def test_a_bundle_is_read_and_predicts(folder):
    found = classifier.read(folder, threads=1)
    assert found.version == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()[:12]
    assert found.sha256 == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert (found.variant, found.manifest.classes, found.manifest.shape) == ("fp32", bundles.CLASSES, (4, 4, 1))
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)
    outputs = classifier.predict(found, images, batch_size=3)
    for output, expected in zip(outputs, bundles.answers(images, 3), strict=True):
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected, atol=1e-4)
    assert classifier.predict(found, bundles.grey(255, (9, 2, 1)))[1].argmax() == 2  # of any size
    assert classifier.latency_ms(found, repeats=10) > 0


def test_a_batch_holds_fewer_large_images(folder, monkeypatch):
    session, sizes = classifier.read(folder, threads=1).session, []
    recorded = SimpleNamespace(run=lambda names, feeds: sizes.append(len(feeds["images"])) or session.run(names, feeds))
    monkeypatch.setattr(classifier, "_MAX_PIXELS", 3 * 4 * 4 + 1)
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)
    np.testing.assert_array_equal(classifier.answers(recorded, images)[0], classifier.answers(session, images)[0])
    classifier.answers(recorded, bundles.grey(255, (9, 9, 1)))  # larger than the limit
    assert sizes == [3, 3, 1, 1]


def test_a_prediction_below_the_threshold_is_withheld(folder):
    manifest = classifier.read(folder, threads=1).manifest
    assert [manifest.withholds(confidence) for confidence in (0.0, 0.8999, 0.9, 1.0)] == [True, True, False, False]
    assert replace(manifest, threshold=None).withholds(1.0)


@pytest.mark.parametrize(
    ("kind", "probabilities", "expected"),
    [
        ("marginal", [0.2, 0.8], [1, 0]),
        ("marginal", [0.19, 0.81], [1]),
        ("class_conditional", [0.29, 0.71], [1]),
        ("class_conditional", [0.3, 0.7], [1, 0]),
        ("class_conditional", [0.95, 0.05], [0]),
    ],
)
def test_a_prediction_set_holds_the_classes_that_reach_their_threshold(kind, probabilities, expected):
    conformal = Conformal(0.95, 0.2, (0.3, 0.1))
    assert conformal.prediction_set(np.array(probabilities), kind).tolist() == expected


def test_a_prediction_set_holds_the_most_probable_class_in_any_case():
    conformal = Conformal(0.95, 0.9, (0.9, 0.9))
    assert conformal.prediction_set(np.array([0.5, 0.5]), "marginal").tolist() == [0]


def test_a_missing_threshold_is_explained(folder):
    manifest = replace(classifier.read(folder, threads=1).manifest, threshold=None, validation_examples=1200)
    for text in ("1,200 validation examples", "98 %", "95 %"):
        assert text in manifest.why_no_threshold()


LARGE = """
import sys, psutil
from darkroom.bundle import classifier
from tests import bundles
found, process = classifier.read(sys.argv[1], threads=1), psutil.Process()
large = bundles.grey(255, (4000, 4000, 1))
classifier.run(found, bundles.grey(255))
before = process.memory_info().rss
logits, probabilities = classifier.run(found, large)
assert logits.argmax() == probabilities.argmax() == 2
print(process.memory_info().rss - before)
"""


def test_the_memory_for_a_large_image_is_released(folder):
    """In a process of its own: one that has trained keeps freed memory."""
    command = [sys.executable, "-c", LARGE, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 16 * 2**20  # it took 64 MB


def test_other_outputs_than_the_golden_ones_are_rejected(folder):
    classifier.check_golden(classifier.read(folder, threads=1), folder)
    bundles.write(folder, golden=bundles.answers(np.zeros((8, 4, 4, 1), np.uint8), 3)[0])
    with pytest.raises(DarkroomError, match=r"golden\.npz differ .* by \d+"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)
    bundles.write(folder, golden=np.full((8, 3), np.nan, np.float32))
    with pytest.raises(DarkroomError, match=r"golden\.npz differ .* by nan"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


@pytest.mark.parametrize(
    "other",
    [
        {"images": np.zeros((8, 5, 4, 1), np.uint8)},
        {"images": np.zeros((8, 4, 4, 1), np.float32)},
        {"images": np.zeros((0, 4, 4, 1), np.uint8)},
        {"logits": np.zeros((8, 1), np.float32)},
        {"probabilities": np.zeros(3, np.float32)},
        {"logits": np.full((8, 3), "1")},
    ],
)
def test_golden_images_and_outputs_of_other_shapes_are_rejected(folder, other):
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    file = io.BytesIO()
    np.savez(file, **arrays | other)
    add(folder, "golden.npz", file.getvalue())
    with pytest.raises(DarkroomError, match=r"golden\.npz does not hold golden images"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


@pytest.mark.parametrize("contents", [b"", b"no zip", b"PK\x03\x04 cut short"])
def test_an_invalid_golden_file_is_rejected(folder, contents):
    add(folder, "golden.npz", contents)
    with pytest.raises(DarkroomError, match=r"golden\.npz does not hold golden images"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


def test_a_pickle_in_the_golden_file_is_not_loaded(folder):
    file = io.BytesIO()
    np.savez(file, images=np.array([{"any": "thing"}], dtype=object))
    add(folder, "golden.npz", file.getvalue())
    with pytest.raises(DarkroomError, match=r"golden\.npz does not hold golden images"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


def test_int8_can_be_read_if_it_was_published(folder):
    with pytest.raises(DarkroomError, match=r"has no model\.int8\.onnx"):
        classifier.read(folder, threads=1, variant="int8")
    model = (folder / "model.onnx").read_bytes()
    add(folder, "model.int8.onnx", model)
    found = classifier.read(folder, threads=1, variant="int8")
    assert found.variant == "int8"
    with pytest.raises(DarkroomError, match="int8_logits"):
        classifier.check_golden(found, folder)
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    for shift, fits in ((0.25, True), (0.75, False)):  # a larger tolerance than fp32
        file = io.BytesIO()
        np.savez(
            file, **arrays, int8_logits=arrays["logits"] + np.float32(shift), int8_probabilities=arrays["probabilities"]
        )
        add(folder, "golden.npz", file.getvalue())
        found = classifier.read(folder, threads=1, variant="int8")
        if fits:
            classifier.check_golden(found, folder)
        else:
            with pytest.raises(DarkroomError, match=r"by 0\.75, more than 0\.5"):
                classifier.check_golden(found, folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DarkroomError, match=rf"{name} is missing"):
        classifier.read(folder, threads=1)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DarkroomError, match=r"nowhere/manifest\.json is missing"):
        classifier.read(tmp_path / "nowhere", threads=1)
    (tmp_path / "file").touch()
    with pytest.raises(DarkroomError, match=r"file/manifest\.json cannot be read"):
        classifier.read(tmp_path / "file", threads=1)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize(
    "damage", [lambda held: held[: len(held) // 2], lambda held: held[:-1] + bytes([held[-1] ^ 1]), lambda held: b""]
)
def test_an_altered_or_incomplete_file_is_rejected(folder, name, damage):
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(DarkroomError, match=rf"{name} .*SHA-256"):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize("other", [3, 5, "4"])
def test_another_format_is_rejected(folder, other):
    change(folder, format=other, classes=None)
    with pytest.raises(DarkroomError, match=rf"manifest\.json has bundle format {other!r}.* format 4"):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"classes": None}, "classes: Field required"),
        ({"classes": ["a", 2]}, "classes.1: Input should be a valid string"),
        ({"classes": ["a", "b", "b"]}, "duplicate classes"),
        ({"shape": [4, 4]}, "shape.2: Field required"),
        ({"shape": [0, 4, 1]}, "shape.0: Input should be greater than 0"),
        ({"shape": [4, 4, 2]}, "shape.2: Input should be 1 or 3"),
        ({"max_pixels": 0}, "max_pixels: Input should be greater than 0"),
        ({"threshold": 1.5}, "threshold: Input should be less than or equal to 1"),
        ({"conformal": CONFORMAL}, "one threshold per class"),
        (
            {"conformal": CONFORMAL | {"marginal": -0.1}},
            "conformal.marginal: Input should be greater than or equal to 0",
        ),
        ({"metrics": {"accuracy": float("inf")}}, "metrics.accuracy"),
        ({"reference": {}}, "KeyError: 'brightness'"),
        ({"reference": bundles.reference(8, 4)}, "reference.class"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"temperature": float("nan")}, "temperature: Input should be"),
        ({"resize": "squeeze"}, "resize: Input should be 'stretch', 'crop' or 'pad'"),
        ({"format": None}, "KeyError: 'format'"),
        ({"files": {}}, "unexpected files"),
        ({"files": {"model.onnx": "0", "golden.npz": "0", "../other": "0"}}, "unexpected files"),
    ],
)
def test_an_invalid_manifest_is_rejected(folder, fields, reason):
    change(folder, **fields)
    with pytest.raises(DarkroomError) as caught:
        classifier.read(folder, threads=1)
    assert "manifest.json is not a valid bundle manifest" in str(caught.value)
    assert reason in str(caught.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def altered(tmp_path_factory):
    """A bundle whose manifest is altered, and the manifest as it was."""
    folder = tmp_path_factory.mktemp("altered") / "bundle"
    bundles.write(folder)
    return folder, json.loads((folder / "manifest.json").read_text())


def paths(value, path=()):
    """The paths of all values inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, held in inner for found in ((*path, key), *paths(held, (*path, key)))]


@given(data=st.data())
def test_any_other_manifest_is_rejected_or_runs(altered, data):
    """Any one value is removed or replaced."""
    folder, original = altered
    manifest = deepcopy(original)
    *path, last = data.draw(st.sampled_from(paths(original)))
    holder = reduce(getitem, path, manifest)
    if data.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = data.draw(
            JUNK | st.sampled_from(paths(original)).map(lambda other: reduce(getitem, other, original))
        )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        found = classifier.read(folder, threads=1)
        classifier.check_golden(found, folder)
    except DarkroomError:
        return
    given = {field.name: manifest[field.name] for field in fields(classifier.Manifest)}
    one, other = (json.loads(json.dumps(each), parse_int=float) for each in (asdict(found.manifest), given))
    assert one == other
    image = classifier.decode_image(found.manifest, png(np.zeros((1, 1), np.uint8)))
    logits, probabilities = classifier.run(found, image[None])
    assert logits.shape == probabilities.shape == (1, 3)
    watch = drift.Watch(found.manifest.reference)
    watch.see(drift.brightness(image[None]), probabilities)
    assert watch.report().indices == {}
    found.manifest.withholds(float(probabilities.max()))


@pytest.mark.parametrize(
    "contents", [b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b'{"format": 4}', b"[" * 100_000, b"1" * 5000]
)
def test_an_invalid_manifest_file_is_rejected(folder, contents):
    (folder / "manifest.json").write_bytes(contents)
    with pytest.raises(DarkroomError, match=r"manifest\.json is not a valid bundle manifest"):
        classifier.read(folder, threads=1)


def test_an_invalid_model_file_is_rejected(folder):
    add(folder, "model.onnx", b"no protobuf at all")
    with pytest.raises(DarkroomError, match=r"model\.onnx cannot be run"):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize("fields", [{**TWO_CLASSES, "reference": bundles.reference(8, 2)}, {"shape": [4, 4, 3]}])
def test_a_model_of_other_classes_or_channels_is_rejected(folder, fields):
    change(folder, **fields)
    with pytest.raises(DarkroomError, match=r"model\.onnx has other inputs or outputs"):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize("size", [(1, "height", "width", 1), ("batch", 4, "width", 1), ("batch", "height", 4, 1), None])
def test_a_model_of_fixed_image_or_batch_size_is_rejected(folder, size):
    model = onnx.load_from_string((folder / "model.onnx").read_bytes())
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, size))
    add(folder, "model.onnx", model.SerializeToString())
    with pytest.raises(DarkroomError, match=r"model\.onnx has other inputs or outputs"):
        classifier.read(folder, threads=1)


def test_an_image_file_is_decoded_at_the_input_size(folder):
    manifest = classifier.read(folder, threads=1).manifest
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    for denoise in ("none", "median"):  # the model denoises, not the decoder
        found = classifier.decode_image(replace(manifest, denoise=denoise), png(pixels))
        assert np.array_equal(found[..., 0], pixels)
    large = np.random.default_rng(0).integers(0, 256, (9, 30), dtype=np.uint8)
    for resize, interpolation in product(("stretch", "crop", "pad"), ("bilinear", "bicubic")):
        changed = replace(manifest, resize=resize, interpolation=interpolation)
        expected = resizing.pixels(Image.fromarray(large), (4, 4), 1, resize, interpolation)
        assert np.array_equal(classifier.decode_image(changed, png(large)), expected)
        whole = resizing.pixels(Image.fromarray(large), (6, 6), 1, resize, interpolation)
        found = classifier.decode_image(replace(changed, crop_fraction=0.65), png(large))
        assert np.array_equal(found, whole[1:5, 1:5])
    with pytest.raises(image_input.Unusable, match="30 x 9"):
        classifier.decode_image(replace(manifest, max_pixels=100), png(large))
    with pytest.raises(image_input.Unusable):
        classifier.decode_image(manifest, b"not an image")


def test_images_of_16_bits_are_scaled_from_the_range_of_the_training_images(tmp_path):
    bundles.write(tmp_path / "bundle", intensity_range=[7_300, 8_200])
    manifest = classifier.read(tmp_path / "bundle", threads=1).manifest
    file = io.BytesIO()
    Image.fromarray(np.linspace(7_300, 8_200, 16).astype(np.uint16).reshape(4, 4)).save(file, "PNG")
    found = classifier.decode_image(manifest, file.getvalue()).ravel()
    assert (found[0], found[-1]) == (0, 255) and len(np.unique(found)) == 16
    assert len(np.unique(classifier.decode_image(replace(manifest, intensity_range=None), file.getvalue()))) == 5


@pytest.mark.parametrize("wanted", [[5, 5], [9, 2], [0, 65_536], [-1, 5], [1, 2, 3], [1.5, 2]])
def test_an_invalid_range_is_rejected(tmp_path, wanted):
    bundles.write(tmp_path / "bundle", intensity_range=wanted)
    with pytest.raises(DarkroomError, match="intensity_range"):
        classifier.read(tmp_path / "bundle", threads=1)


def test_a_session_keeps_no_second_copy_of_the_model():
    session = classifier.open_session(bundles.model(3, 1), threads=1)
    assert not [value for value in vars(session).values() if isinstance(value, bytes)]
