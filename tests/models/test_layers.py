import subprocess
import sys

import pytest
import torch
from torch import nn

from darkroom.models import layers
from darkroom.models.layers import MaxPool, WhiteningConv, convolution


@pytest.mark.parametrize(("channels", "filters"), [(1, 18), (1, 8), (3, 16)])  # 18: all components of a grey patch
def test_fitted_stem_whitens(channels, filters):
    torch.manual_seed(0)
    noise = torch.randn(200, channels, 14, 14)
    images = nn.functional.avg_pool2d(noise, 3, stride=1) + 1  # neighbouring pixels correlate, the mean is not 0
    stem = WhiteningConv(channels, filters)
    stem.fit(images, epsilon=0.0)
    # Without padding, so that the patches are those of the fit.
    responses = nn.functional.conv2d(images, stem.weight).movedim(1, 0).flatten(1)
    half = filters // 2
    torch.testing.assert_close(torch.cov(responses[:half], correction=0), torch.eye(half), atol=1e-3, rtol=0)
    assert torch.equal(stem.weight[half:], -stem.weight[:half])
    assert not stem.weight.requires_grad


def test_stem_takes_the_leading_components_in_order():
    torch.manual_seed(0)
    images = torch.randn(500, 1, 3, 3) * torch.arange(1.0, 10.0).reshape(3, 3)  # the last pixel varies most
    stem = WhiteningConv(1, 6)
    stem.fit(images, epsilon=0.0)
    assert stem.weight[:3].flatten(1).argmax(1).tolist() == [8, 7, 6]
    stem.fit(images, epsilon=1e6)  # far above every variance, so that all filters have the same norm
    torch.testing.assert_close(stem.weight.flatten(1).norm(dim=1), torch.full((6,), 1e-3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(2000, 1, 28, 28), (50, 3, 20, 33)])
def test_stem_is_fitted_on_every_patch_up_to_the_limit(shape: tuple[int, ...]):
    images, size = torch.randn(shape, generator=torch.Generator().manual_seed(0)), 9 * shape[1]
    patches = images.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
    patches = patches - patches.mean(0)
    variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
    leading = torch.arange(size - 1, size - 9, -1)
    filters = (components[:, leading] / (variances[leading] + 1e-2).sqrt()).T
    filters *= filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()
    stem = WhiteningConv(shape[1], 16)
    stem.fit(images)
    assert torch.equal(stem.weight[:8].flatten(1), filters.float())


@pytest.mark.parametrize("limit", [2_000, 10_000, 28_000])
def test_stem_that_is_fitted_on_some_of_the_patches_whitens_all(monkeypatch: pytest.MonkeyPatch, limit: int):
    monkeypatch.setattr(layers, "MAX_PATCHES", limit)
    noise = torch.randn(50, 1, 28, 30, generator=torch.Generator().manual_seed(0))
    images = nn.functional.avg_pool2d(noise, 3, stride=1)  # 50 x 24 x 26 = 31,200 patches
    stem = WhiteningConv(1, 8)
    stem.fit(images, epsilon=0.0)
    responses = nn.functional.conv2d(images, stem.weight).movedim(1, 0).flatten(1)
    torch.testing.assert_close(torch.cov(responses[:4], correction=0), torch.eye(4), atol=0.15, rtol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
def test_memory_of_the_fit_is_bounded():
    code = """
import resource, torch
from darkroom.models.layers import WhiteningConv
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
stem, images = WhiteningConv(3, 16), torch.randn(400, 3, 160, 160)
before = peak()
stem.fit(images)
print(peak() - before)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) < 800e6  # 400 x 158 x 158 patches of 27 float64 would take 2.2 GB


@pytest.mark.parametrize(("channels", "filters"), [(1, 20), (3, 15)])
def test_stem_rejects_a_number_of_filters_that_it_cannot_have(channels, filters):
    with pytest.raises(ValueError, match=f"{filters} channels.*{18 * channels}"):
        WhiteningConv(channels, filters)


@pytest.mark.parametrize(("pool", "size"), [(False, (9, 7)), (True, (4, 3))])
def test_convolution_keeps_or_halves_the_size(pool, size):
    output = convolution(2, 5, pool)(torch.randn(3, 2, 9, 7))
    assert output.shape == (3, 5, *size)
    assert output.min() == 0  # ReLU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [(2, 2), (6, 4), (7, 9), (2, 5)])
def test_pooling_without_a_gradient_is_that_of_pytorch(
    size: tuple[int, int], memory_format: torch.memory_format, dtype: torch.dtype
):
    images = torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with ties
    images[0, 0, 0, 0], images[1, 1, 1, 1] = torch.nan, -torch.inf
    images = images.to(dtype, memory_format=memory_format)
    expected, pooled = nn.functional.max_pool2d(images, 2), MaxPool()(images)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0, equal_nan=True)
    assert pooled.dtype == dtype
    assert pooled.is_contiguous(memory_format=memory_format)


def test_pooling_has_the_gradient_of_pytorch():
    """That of the first maximum of a window; torch.maximum would share it between equal ones."""
    images = torch.ones(1, 1, 2, 2, requires_grad=True)
    MaxPool()(images).sum().backward()
    assert images.grad.flatten().tolist() == [1, 0, 0, 0]


def test_exported_pooling_is_one_node():
    program = torch.export.export(MaxPool().eval(), (torch.randn(2, 1, 4, 4),))
    assert [node.target for node in program.graph.nodes if node.op == "call_function"] == [
        torch.ops.aten.max_pool2d.default
    ]
