from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from timm.layers import resample_abs_pos_embed
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models.registry import build
from darkroom.weights import positions, pretrained
from tests.weights.test_pretrained import DESCRIBED

SIDES = st.integers(1, 9)


@given(SIDES, SIDES, SIDES, st.integers(0, 2))
def test_embeddings_are_resampled_as_by_timm(side: int, rows: int, columns: int, others: int):
    embeddings = torch.randn(1, others + side**2, 3)
    found = positions.resample(embeddings, others, (rows, columns))
    expected = resample_abs_pos_embed(embeddings, (rows, columns), num_prefix_tokens=others)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(found[:, :others], embeddings[:, :others])


@pytest.mark.parametrize(
    ("family", "arguments", "name"),
    [
        ("timm", {"architecture": "test_vit"}, "pos_embed"),
        ("vit", {"embed_dim": 32, "depth": 1, "heads": 2, "mlp_ratio": 1.0}, "positions"),
    ],
)
def test_pretrained_transformers_take_images_of_another_size(tmp_path: Path, family: str, arguments: dict, name: str):
    torch.manual_seed(0)
    published, network = (build(family, arguments, (*size, 3), 4) for size in ((64, 64), (96, 32)))
    weights = {key: tensor.contiguous() for key, tensor in published.state_dict().items()}
    pretrained.write(tmp_path / "given", DESCRIBED, save(weights))
    assert pretrained.load(tmp_path / "given", network) == []
    grid = network.position_grids[name]
    for key, tensor in network.state_dict().items():
        if key == name:
            others = weights[key].shape[1] - grid[0] * grid[1] * 64 * 64 // (96 * 32)
            assert torch.equal(tensor, positions.resample(weights[key], others, grid))
        else:
            assert torch.equal(tensor, weights[key])


def test_embeddings_that_do_not_fit_stay_as_they_are(tmp_path: Path):
    network = nn.Module()
    network.position = nn.Parameter(torch.zeros(1, 5, 3))
    network.position_grids = {"position": (2, 2)}
    for shape in ((1, 5, 3), (1, 9, 3), (1, 10, 4), (5, 3)):  # fits; no class token; more features; no batch
        weights = {"position": torch.ones(shape), "other": torch.ones(2)}
        assert positions.fitted(weights, network)["position"] is weights["position"]
    assert positions.fitted({}, network) == {}
    fitted = positions.fitted({"position": torch.ones(1, 10, 3)}, network)
    assert torch.allclose(fitted["position"], torch.ones(1, 5, 3))


def test_transformers_with_other_patches_are_still_refused(tmp_path: Path):
    networks = (build("timm", {"architecture": name}, (64, 64, 3), 4) for name in ("test_vit", "test_vit2"))
    published, network = networks
    pretrained.write(tmp_path / "given", DESCRIBED, save(dict(published.state_dict())))
    with pytest.raises(DarkroomError, match=r"model\.pretrained does not fit"):
        pretrained.load(tmp_path / "given", network)


@pytest.mark.parametrize(("side", "grid"), [(96, (6, 6)), (32, (8, 8))])  # smaller patches for small images
def test_torchvision_transformers_name_their_embeddings(side: int, grid: tuple[int, int]):
    with torch.device("meta"):
        network = build("torchvision", {"architecture": "vit_b_16"}, (side, side, 3), 4)
    published = {"encoder.pos_embedding": torch.zeros(1, 197, 768)}
    assert network.position_grids == {"encoder.pos_embedding": grid}
    assert positions.fitted(published, network)["encoder.pos_embedding"].shape == network.encoder.pos_embedding.shape
