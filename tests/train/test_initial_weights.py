import pytest
import torch
from safetensors.torch import save_file

from darkroom.core.errors import DarkroomError
from darkroom.train import initial_weights
from tests.networks import small


def test_whole_network_is_loaded(tmp_path):
    given, network = small("torchvision", (12, 9, 2)), small("torchvision", (12, 9, 2), seed=1)
    save_file({name: tensor.contiguous() for name, tensor in given.state_dict().items()}, tmp_path / "all.safetensors")
    assert initial_weights.load(tmp_path / "all.safetensors", network) == []
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in given.state_dict().items())


def test_weights_of_the_original_torchvision_network_leave_only_stem_and_head_random(tmp_path):
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    given = {
        name: tensor
        for name, tensor in shufflenet_v2_x0_5().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }  # as in old files
    save_file(given, tmp_path / "given.safetensors")
    network = small("torchvision", (28, 28, 1), seed=1)
    drawn = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert initial_weights.load(tmp_path / "given.safetensors", network) == ["conv1.0.weight", "fc.weight", "fc.bias"]
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, drawn[name] if name.startswith(("conv1.0.", "fc.")) else given[name])


@pytest.mark.parametrize(
    ("family", "classes", "arguments", "facts"),
    [
        ("cnn", 3, {"channels": 5}, ["features.0.bias", "(5,)", "(4,)", "4 more"]),
        ("cnn", 4, {}, ["head.bias", "(4,)", "(3,)", "1 more"]),
        ("sprint", 3, {}, ["missing"]),
        ("torchvision", 3, {}, ["unknown"]),
    ],
)
def test_weights_of_another_network_are_rejected(tmp_path, family, classes, arguments, facts):
    path = tmp_path / "given.safetensors"
    other = small(family, (28, 28, 1), classes, **arguments)
    save_file({name: tensor.contiguous() for name, tensor in other.state_dict().items()}, path)
    network = small("cnn", (28, 28, 1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DarkroomError, match=r"model\.initial_weights = .*given\.safetensors") as caught:
        initial_weights.load(path, network)
    assert all(fact in str(caught.value) for fact in facts)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_missing_and_damaged_files_are_rejected(tmp_path):
    network = small("cnn", (12, 12, 1))
    with pytest.raises(DarkroomError, match=r"none\.safetensors' is missing"):
        initial_weights.load(tmp_path / "none.safetensors", network)
    path = tmp_path / "given.safetensors"
    save_file(network.state_dict(), path)
    for damaged in (b"", path.read_bytes()[:-1], b"PK\x03\x04 a pickle in a zip archive"):
        path.write_bytes(damaged)
        with pytest.raises(DarkroomError, match=r"given\.safetensors' is not a valid"):
            initial_weights.load(path, network)


def test_digest_depends_on_the_contents(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, contents in zip(paths, (b"1", b"1", b"2"), strict=True):
        path.write_bytes(contents)
    first, again, other = (initial_weights.digest(str(path)) for path in paths)
    assert first == again != other
    assert initial_weights.digest("none") == "none"
