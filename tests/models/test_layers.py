import pytest
import torch
from torch import nn

from darkroom.models.layers import WhiteningConv, convolution


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


@pytest.mark.parametrize(("channels", "filters"), [(1, 20), (3, 15)])
def test_stem_rejects_a_number_of_filters_that_it_cannot_have(channels, filters):
    with pytest.raises(ValueError, match=f"{filters} channels.*{18 * channels}"):
        WhiteningConv(channels, filters)


@pytest.mark.parametrize(("pool", "size"), [(False, (9, 7)), (True, (4, 3))])
def test_convolution_keeps_or_halves_the_size(pool, size):
    output = convolution(2, 5, pool)(torch.randn(3, 2, 9, 7))
    assert output.shape == (3, 5, *size)
    assert output.min() == 0  # ReLU
