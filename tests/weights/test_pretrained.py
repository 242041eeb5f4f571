from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models.layers import last_layer_name
from darkroom.weights import pretrained
from darkroom.weights.pretrained import Pretrained
from tests.networks import SMALL, small

DESCRIBED = Pretrained(
    "big", "Big", "MIT", "cnn", "", "0" * 64, mean=(0.5,), std=(0.25,), image_size=32, interpolation="bicubic"
)


def contents(network: nn.Module) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def test_what_is_written_is_read_back(tmp_path: Path):
    given, network = small("torchvision", (12, 9, 2)), small("torchvision", (12, 9, 2), seed=1)
    pretrained.write(tmp_path / "given", DESCRIBED, contents(given))
    assert pretrained.read(tmp_path / "given") == DESCRIBED
    assert pretrained.load(tmp_path / "given", network) == []
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in given.state_dict().items())
    pretrained.write(tmp_path / "given", None)
    assert pretrained.read(tmp_path / "given") is None


def test_weights_of_a_published_network_leave_only_stem_and_head_random(tmp_path: Path):
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    given = shufflenet_v2_x0_5().state_dict()
    pretrained.write(tmp_path / "given", DESCRIBED, save(given))
    network = small("torchvision", (28, 28, 1), seed=1)
    drawn = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert pretrained.load(tmp_path / "given", network) == ["conv1.0.weight", "fc.weight", "fc.bias"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, drawn[name] if name.startswith(("conv1.0.", "fc.")) else given[name])


@pytest.mark.parametrize("name", SMALL)
def test_weights_with_another_number_of_classes_leave_only_the_last_layer_random(tmp_path: Path, name: str):
    given, network = small(name, (28, 28, 3), 7), small(name, (28, 28, 3), 4, seed=1)
    pretrained.write(tmp_path / "given", DESCRIBED, contents(given))
    random = pretrained.load(tmp_path / "given", network)
    assert random == [f"{last_layer_name(network)}.{kind}" for kind in ("weight", "bias")]
    expected = given.state_dict()
    assert all(torch.equal(one, expected[key]) for key, one in network.state_dict().items() if key not in random)


@pytest.mark.parametrize(
    ("family", "classes", "arguments", "facts"),
    [
        ("cnn", 3, {"channels": 5}, ["features.0.weight", "(5, 1, 3, 3)", "(4, 1, 3, 3)", "4 more"]),
        ("sprint", 3, {}, ["features.0.weight is missing"]),  # the first in the network's order
        ("torchvision", 3, {}, ["features.0.weight is missing"]),
    ],
)
def test_weights_of_another_network_are_rejected(tmp_path: Path, family, classes, arguments, facts):
    pretrained.write(tmp_path / "given", DESCRIBED, contents(small(family, (28, 28, 1), classes, **arguments)))
    network = small("cnn", (28, 28, 1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DarkroomError, match=r"model\.pretrained") as caught:
        pretrained.load(tmp_path / "given", network)
    assert all(fact in str(caught.value) for fact in facts)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_missing_and_damaged_files_are_rejected(tmp_path: Path):
    network = small("cnn", (12, 12, 1))
    for read in (pretrained.read, lambda folder: pretrained.load(folder, network)):
        with pytest.raises(DarkroomError, match=r"none.*dvc repro"):
            read(tmp_path / "none")
    whole = contents(network)
    for damaged in (b"", whole[:-1], b"PK\x03\x04 a pickle in a zip archive"):
        pretrained.write(tmp_path / "given", DESCRIBED, damaged)
        with pytest.raises(DarkroomError, match="given cannot be read"):
            pretrained.load(tmp_path / "given", network)
    (tmp_path / "given/pretrained.json").write_text('{"name": "big"}')
    with pytest.raises(DarkroomError, match="given cannot be read"):
        pretrained.read(tmp_path / "given")
