import hashlib
import io
import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import asdict, fields, replace
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darkroom.bundle import classifier, drift
from darkroom.core.errors import DarkroomError
from tests import bundles

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    bundles.write(tmp_path / "bundle")
    return tmp_path / "bundle"


def png(image):
    contents = io.BytesIO()
    Image.fromarray(image).save(contents, "PNG")
    return contents.getvalue()


def change(folder, **fields):
    """Changes fields of the manifest; None takes one out."""
    path = folder / "manifest.json"
    changed = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


def add(folder, name, contents):
    """Puts a file into the bundle, described as it is."""
    (folder / name).write_bytes(contents)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    change(folder, files=files | {name: hashlib.sha256(contents).hexdigest()})


def test_it_is_read_and_answers(folder):
    found = classifier.read(folder, threads=1)
    assert found.version == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()[:12]
    assert found.sha256 == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert (found.variant, found.manifest.classes, found.manifest.shape) == ("fp32", bundles.CLASSES, (4, 4, 1))
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)
    for answer, expected in zip(
        classifier.predict(found, images, batch_size=3), bundles.answers(images, 3), strict=True
    ):
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, atol=1e-4)
    assert classifier.predict(found, bundles.grey(255, (9, 2, 1)))[1].argmax() == 2  # of any size
    assert 0 < classifier.latency_ms(found, repeats=10) < 1000


def test_an_answer_below_the_threshold_is_withheld(folder):
    manifest = classifier.read(folder, threads=1).manifest
    assert [manifest.withholds(confidence) for confidence in (0.0, 0.8999, 0.9, 1.0)] == [True, True, False, False]
    assert replace(manifest, threshold=None).withholds(1.0)


def test_the_memory_of_a_large_picture_is_given_back(folder):
    found, process = classifier.read(folder, threads=1), psutil.Process()
    large = bundles.grey(255, (4000, 4000, 1))
    classifier.run(found, bundles.grey(255))
    before = process.memory_info().rss
    logits, probabilities = classifier.run(found, large)
    assert logits.argmax() == probabilities.argmax() == 2
    assert process.memory_info().rss - before < 16 * 2**20  # it took 64 MB


def test_golden_answers_are_held_to(folder):
    classifier.check_golden(classifier.read(folder, threads=1), folder)
    bundles.write(folder, golden=bundles.answers(np.zeros((8, 4, 4, 1), np.uint8), 3)[0])
    with pytest.raises(DarkroomError, match=r"answers \S*golden\.npz otherwise than at export \(by \d+"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)
    bundles.write(folder, golden=np.full((8, 3), np.nan, np.float32))
    with pytest.raises(DarkroomError, match=r"otherwise than at export \(by nan"):
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
def test_golden_pictures_and_answers_of_other_shapes_are_refused(folder, other):
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    file = io.BytesIO()
    np.savez(file, **arrays | other)
    add(folder, "golden.npz", file.getvalue())
    with pytest.raises(DarkroomError, match=r"golden\.npz holds no golden pictures and answers"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


@pytest.mark.parametrize("contents", [b"", b"no zip", b"PK\x03\x04 cut short"])
def test_a_golden_file_that_is_none_is_refused(folder, contents):
    add(folder, "golden.npz", contents)
    with pytest.raises(DarkroomError, match=r"golden\.npz holds no golden pictures and answers"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


def test_a_pickle_in_the_golden_file_is_not_loaded(folder):
    file = io.BytesIO()
    np.savez(file, images=np.array([{"any": "thing"}], dtype=object))
    add(folder, "golden.npz", file.getvalue())
    with pytest.raises(DarkroomError, match=r"golden\.npz holds no golden pictures"):
        classifier.check_golden(classifier.read(folder, threads=1), folder)


def test_8_bits_where_they_were_published(folder):
    with pytest.raises(DarkroomError, match=r"holds no model\.int8\.onnx: it did not pass its gates"):
        classifier.read(folder, threads=1, variant="int8")
    model = (folder / "model.onnx").read_bytes()
    add(folder, "model.int8.onnx", model)
    found = classifier.read(folder, threads=1, variant="int8")
    assert found.variant == "int8"
    with pytest.raises(DarkroomError, match="int8_logits"):
        classifier.check_golden(found, folder)
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    for shift, fits in ((0.25, True), (0.75, False)):  # looser than in 32 bits
        file = io.BytesIO()
        np.savez(
            file, **arrays, int8_logits=arrays["logits"] + np.float32(shift), int8_probabilities=arrays["probabilities"]
        )
        add(folder, "golden.npz", file.getvalue())
        found = classifier.read(folder, threads=1, variant="int8")
        if fits:
            classifier.check_golden(found, folder)
        else:
            with pytest.raises(DarkroomError, match=r"by 0\.75, of which 0\.5 is allowed"):
                classifier.check_golden(found, folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DarkroomError, match=rf"{name} is missing: run `dvc repro export`"):
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
def test_an_altered_or_half_written_file_is_refused(folder, name, damage):
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(DarkroomError, match=rf"{name} is not the file that manifest\.json describes"):
        classifier.read(folder, threads=1)


def test_another_format_is_refused(folder):
    change(folder, format=2, classes=None)
    with pytest.raises(DarkroomError, match=r"is of a bundle of format 2, but this Darkroom runs format 1"):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"classes": None}, "classes: Field required"),
        ({"classes": ["a", 2]}, "classes.1: Input should be a valid string"),
        ({"classes": ["a", "b", "b"]}, "two of its classes have one name"),
        ({"shape": [4, 4]}, "shape.2: Field required"),
        ({"shape": [0, 4, 1]}, "shape.0: Input should be greater than 0"),
        ({"shape": [4, 4, 2]}, "shape.2: Input should be 1 or 3"),
        ({"max_pixels": 0}, "max_pixels: Input should be greater than 0"),
        ({"threshold": 1.5}, "threshold: Input should be less than or equal to 1"),
        ({"metrics": {"accuracy": float("inf")}}, "metrics.accuracy"),
        ({"reference": {}}, "KeyError: 'brightness'"),
        ({"reference": bundles.reference(8, 4)}, "its reference is of other classes or bins"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"temperature": float("nan")}, "temperature: Input should be"),
        ({"resize": "squeeze"}, "resize: Input should be 'stretch', 'crop' or 'pad'"),
        ({"format": None}, "KeyError: 'format'"),
        ({"files": {}}, "it describes the files"),
        ({"files": {"model.onnx": "0", "golden.npz": "0", "../other": "0"}}, "it describes the files"),
    ],
)
def test_a_broken_manifest_is_refused(folder, fields, reason):
    change(folder, **fields)
    with pytest.raises(DarkroomError) as caught:
        classifier.read(folder, threads=1)
    assert "manifest.json is no bundle's manifest" in str(caught.value)
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


def places(value, path=()):
    """The paths of all values inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, held in inner for found in ((*path, key), *places(held, (*path, key)))]


@given(data=st.data())
def test_any_other_manifest_is_refused_or_runs(altered, data):
    """A value anywhere in it is left out, or is another."""
    folder, original = altered
    manifest = deepcopy(original)
    *path, last = data.draw(st.sampled_from(places(original)))
    holder = reduce(getitem, path, manifest)
    if data.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = data.draw(
            JUNK | st.sampled_from(places(original)).map(lambda other: reduce(getitem, other, original))
        )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        found = classifier.read(folder, threads=1)
        classifier.check_golden(found, folder)
    except DarkroomError:
        return
    assert json.loads(json.dumps(asdict(found.manifest))) == {
        field.name: manifest[field.name] for field in fields(classifier.Manifest)
    }
    image = classifier.picture(found.manifest, png(np.zeros((1, 1), np.uint8)))
    logits, probabilities = classifier.run(found, image[None])
    assert logits.shape == probabilities.shape == (1, 3)
    watch = drift.Watch(found.manifest.reference)
    watch.see(drift.brightness(image[None]), probabilities)
    assert watch.scores() == {}
    found.manifest.withholds(float(probabilities.max()))


@pytest.mark.parametrize(
    "contents", [b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000, b"1" * 5000]
)
def test_what_is_no_manifest_is_refused(folder, contents):
    (folder / "manifest.json").write_bytes(contents)
    with pytest.raises(DarkroomError, match=r"manifest\.json is no bundle's manifest"):
        classifier.read(folder, threads=1)


def test_a_file_that_is_no_model_is_refused(folder):
    add(folder, "model.onnx", b"no protobuf at all")
    with pytest.raises(DarkroomError, match=r"model\.onnx cannot be run"):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize(
    "fields", [{"classes": ["a", "b"], "reference": bundles.reference(8, 2)}, {"shape": [4, 4, 3]}]
)
def test_a_model_of_other_classes_or_pictures_is_refused(folder, fields):
    change(folder, **fields)
    with pytest.raises(
        DarkroomError, match=r"model\.onnx is no model of the \d classes and the pictures that manifest\.json describes"
    ):
        classifier.read(folder, threads=1)


@pytest.mark.parametrize("size", [(1, "height", "width", 1), ("batch", 4, "width", 1), ("batch", "height", 4, 1), None])
def test_a_model_of_pictures_of_one_size_or_number_is_refused(folder, size):
    model = onnx.load_from_string((folder / "model.onnx").read_bytes())
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, size))
    add(folder, "model.onnx", model.SerializeToString())
    with pytest.raises(DarkroomError, match=r"model\.onnx is no model of the 3 classes and the pictures"):
        classifier.read(folder, threads=1)


def test_a_picture_file_is_brought_to_what_the_model_was_trained_on(folder):
    manifest = classifier.read(folder, threads=1).manifest
    image = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    assert np.array_equal(classifier.picture(manifest, png(image))[..., 0], image)
    median = classifier.picture(replace(manifest, denoise="median"), png(image))
    assert median[1, 1, 0] == np.median(image[:3, :3])
    large = np.random.default_rng(0).integers(0, 256, (9, 30), dtype=np.uint8)
    for resize in ("stretch", "crop", "pad"):
        expected = image.pixels(Image.fromarray(large), (4, 4), 1, resize)
        assert np.array_equal(classifier.picture(replace(manifest, resize=resize), png(large)), expected)
    with pytest.raises(image.Unusable, match="9 pixels"):
        classifier.picture(replace(manifest, max_pixels=100), png(large))
    with pytest.raises(image.Unusable, match="no picture"):
        classifier.picture(manifest, b"no picture")


def test_reading_a_bundle_needs_none_of_the_libraries_of_the_training():
    heavy = ["torch", "pandas", "scipy", "matplotlib", "sklearn", "onnx"]
    script = f"import sys, darkroom.bundle.classifier; sys.exit(str(set({heavy}) & set(sys.modules)) if set({heavy}) & set(sys.modules) else 0)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
