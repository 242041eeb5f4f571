import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format

from darkroom import convert
from darkroom.bundle import classifier
from darkroom.core.errors import DarkroomError
from darkroom.models import checkpoints, registry
from darkroom.models.inference import predict
from tests import bundles, text_bundles

ROOT = Path(__file__).parents[2]
SHAPE, TEMPERATURE = (9, 8, 3), 0.5


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """NVIDIA's schema of config.pbtxt, from tritonclient.

    The file is loaded by its path, since the package that holds it cannot be imported without gRPC.
    """
    path = Path(importlib.util.find_spec("tritonclient").origin).with_name("grpc") / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of a bundle."""
    bundles.write(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a network, beside a bundle whose golden outputs are those of the network."""
    torch.manual_seed(1)
    arguments = {"channels": 4, "dropout": 0.0}
    network = registry.build("sprint", arguments, SHAPE, 3).eval()
    description = checkpoints.Description(
        name="sprint",
        arguments=arguments,
        dataset="toys",
        title="Toys",
        licence="MIT",
        classes=bundles.CLASSES,
        shape=SHAPE,
        mean=(0.4,) * 3,
        std=(0.3,) * 3,
        data_sha256="f" * 64,
        params={},
    )
    checkpoints.save(tmp_path / "trained", network, description)
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    logits = predict(network, images, description.mean, description.std)
    bundles.write(tmp_path / "bundle", shape=SHAPE, temperature=TEMPERATURE, data_sha256=description.data_sha256)
    write_golden(tmp_path / "bundle", images, logits)
    return tmp_path / "trained"


def write_golden(source: Path, images: np.ndarray, logits: np.ndarray) -> None:
    """Replace the bundle's golden images and outputs."""
    np.savez(
        source / "golden.npz",
        images=images,
        logits=logits,
        probabilities=torch.from_numpy(logits / TEMPERATURE).softmax(1).numpy(),
    )
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["golden.npz"] = hashlib.sha256((source / "golden.npz").read_bytes()).hexdigest()
    (source / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_triton_gets_the_same_model_with_its_labels(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    convert.main(["triton", str(tmp_path / "repository"), "--bundle", str(source)])
    manifest = classifier.read(source, threads=1).manifest
    written = contents(tmp_path / "repository")
    assert set(written) == {f"{manifest.dataset}/{name}" for name in ("config.pbtxt", "labels.txt", "1/model.onnx")}
    assert written[f"{manifest.dataset}/1/model.onnx"] == (source / "model.onnx").read_bytes()
    assert tuple(written[f"{manifest.dataset}/labels.txt"].decode().splitlines()) == manifest.classes
    assert f"/v2/models/{manifest.dataset}" in capsys.readouterr().out


def test_the_configuration_is_valid_and_describes_the_model(source: Path, tmp_path: Path, schema: ModuleType):
    target = convert.triton(source, tmp_path / "repository")
    found = text_format.Parse((target / "config.pbtxt").read_text(encoding="utf-8"), schema.ModelConfig())
    graph = onnx.load(target / "1" / found.default_model_filename).graph
    types = {onnx.TensorProto.UINT8: schema.TYPE_UINT8, onnx.TensorProto.FLOAT: schema.TYPE_FP32}

    def signature(values) -> list[tuple]:
        """Name, type and dimensions without the batch; -1 for any length."""
        tensors = [(value.name, value.type.tensor_type) for value in values]
        return [
            (name, types[tensor.elem_type], [-1 if size.dim_param else size.dim_value for size in tensor.shape.dim[1:]])
            for name, tensor in tensors
        ]

    assert (found.name, found.backend) == (target.name, "onnxruntime")
    assert found.max_batch_size > 1
    assert found.HasField("dynamic_batching")
    assert [(value.name, value.data_type, list(value.dims)) for value in found.input] == signature(graph.input)
    assert [(value.name, value.data_type, list(value.dims)) for value in found.output] == signature(graph.output)
    assert [value.label_filename for value in found.output] == ["", "labels.txt"]
    (warmup,) = found.model_warmup
    images = warmup.inputs["images"]
    assert (warmup.batch_size, images.data_type, tuple(images.dims)) == (
        1,
        schema.TYPE_UINT8,
        classifier.read(source, threads=1).manifest.shape,
    )
    assert images.zero_data


def test_names_are_quoted(tmp_path: Path, schema: ModuleType):
    bundles.write(tmp_path / "bundle", dataset="Möbel v1.2")
    target = convert.triton(tmp_path / "bundle", tmp_path / "repository")
    parsed = text_format.Parse((target / "config.pbtxt").read_text(encoding="utf-8"), schema.ModelConfig())
    assert parsed.name == target.name == "Möbel v1.2"


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "..", ""])
def test_a_name_with_a_path_is_rejected(tmp_path: Path, name: str):
    bundles.write(tmp_path / "bundle", dataset=name)
    with pytest.raises(DarkroomError, match=re.escape(repr(name))):
        convert.triton(tmp_path / "bundle", tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_a_second_run_replaces_the_model_and_leaves_others_alone(source: Path, tmp_path: Path):
    repository = tmp_path / "repository"
    (repository / "other").mkdir(parents=True)
    (repository / "other" / "config.pbtxt").write_text("mine")
    first = contents(convert.triton(source, repository))
    assert contents(convert.triton(source, repository)) == first
    assert (repository / "other" / "config.pbtxt").read_text() == "mine"


def test_foreign_files_are_not_replaced(source: Path, tmp_path: Path):
    target = convert.triton(source, tmp_path / "repository")
    (target / "2").mkdir()
    with pytest.raises(DarkroomError, match="holds 2,"):
        convert.triton(source, tmp_path / "repository")
    assert (target / "1" / "model.onnx").exists()


def test_an_altered_bundle_is_rejected(source: Path, tmp_path: Path):
    (source / "model.onnx").write_bytes(b"altered")
    with pytest.raises(SystemExit, match=r"convert: .*model\.onnx"):
        convert.main(["triton", str(tmp_path / "repository"), "--bundle", str(source)])
    assert not (tmp_path / "repository").exists()


def test_only_images_are_converted(tmp_path: Path, trained: Path):
    text_bundles.write(tmp_path / "texts")
    with pytest.raises(DarkroomError, match="texts"):
        convert.triton(tmp_path / "texts", tmp_path / "repository")
    with pytest.raises(DarkroomError, match="texts"):
        convert.pt2(tmp_path / "texts", trained, tmp_path / "model.pt2")
    assert not (tmp_path / "repository").exists() and not (tmp_path / "model.pt2").exists()


def test_a_folder_that_is_not_writable_is_reported(source: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"convert: .*file is unchanged"):
        convert.main(["triton", str(tmp_path / "file"), "--bundle", str(source)])


def test_triton_needs_no_torch(source: Path, tmp_path: Path):
    command = "import sys; from darkroom.convert import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = ["triton", str(tmp_path / "repository"), "--bundle", str(source)]
    subprocess.run([sys.executable, "-c", command, *arguments], cwd=ROOT, check=True)


def test_pt2_without_torch_is_one_line(source: Path, tmp_path: Path):
    command = "import sys; sys.modules['torch'] = None; from darkroom.convert import main; main(sys.argv[1:])"
    arguments = ["pt2", str(tmp_path / "model.pt2"), "--bundle", str(source)]
    done = subprocess.run([sys.executable, "-c", command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "needs torch" in done.stderr and "pip install" in done.stderr


def test_a_torch_program_gives_the_networks_outputs_for_any_batch_size(trained: Path, tmp_path: Path):
    file = tmp_path / "out" / "model.pt2"
    convert.main(["pt2", str(file), "--bundle", str(tmp_path / "bundle"), "--model", str(trained)])
    program = torch.export.load(file).module()
    with np.load(tmp_path / "bundle" / "golden.npz") as golden:
        for count in (1, 3, 5):
            logits, probabilities = program(torch.from_numpy(golden["images"][:count]))
            np.testing.assert_allclose(logits.detach().numpy(), golden["logits"][:count], atol=1e-4)
            np.testing.assert_allclose(probabilities.detach().numpy(), golden["probabilities"][:count], atol=1e-4)
    with zipfile.ZipFile(file) as archive:
        assert [name for name in archive.namelist() if str(ROOT).encode() in archive.read(name)] == []


def test_a_torch_program_denoises_as_the_bundle_does(trained: Path, tmp_path: Path):
    """The golden outputs are those without denoising, so a program that denoises gives others."""
    path = tmp_path / "bundle" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"denoise": "median"}))
    with pytest.raises(DarkroomError, match="differ by"):
        convert.pt2(tmp_path / "bundle", trained, tmp_path / "model.pt2")


def test_a_torch_program_needs_its_suffix(tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        convert.main(["pt2", str(tmp_path / "model.onnx")])
    assert ended.value.code == 2
    assert "must end in .pt2" in capsys.readouterr().err


def test_a_torch_program_of_other_data_is_not_written(trained: Path, tmp_path: Path):
    bundles.write(tmp_path / "bundle", classes=["a", "b"], shape=(4, 4, 1))
    with pytest.raises(DarkroomError, match="other data"):
        convert.pt2(tmp_path / "bundle", trained, tmp_path / "model.pt2")
    assert not (tmp_path / "model.pt2").exists()


def test_a_torch_program_of_another_network_is_not_written(trained: Path, tmp_path: Path):
    with np.load(tmp_path / "bundle" / "golden.npz") as golden:
        images, logits = golden["images"], golden["logits"]
    write_golden(tmp_path / "bundle", images, logits[:, ::-1].copy())
    (tmp_path / "model.pt2").write_bytes(b"earlier")
    with pytest.raises(SystemExit, match=r"convert: .* differ by"):
        convert.main(
            ["pt2", str(tmp_path / "model.pt2"), "--bundle", str(tmp_path / "bundle"), "--model", str(trained)]
        )
    assert (tmp_path / "model.pt2").read_bytes() == b"earlier"
    assert not list(tmp_path.glob(".tmp-*"))
