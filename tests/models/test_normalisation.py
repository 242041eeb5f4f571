import pytest
import torch

from darkroom.models.normalisation import normalise


def test_values_are_exact():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 3, 1)
    expected = torch.tensor([-0.5, 0.0, 2.0]).reshape(1, 1, 1, 3)
    assert torch.allclose(normalise(images, [0.2], [0.4]), expected, atol=1e-6)


def test_mean_is_0_and_deviation_1_and_a_constant_channel_is_only_centred():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (100, 6, 7, 2), dtype=torch.uint8, generator=generator)
    images[..., 1] = 7
    scaled = images.double() / 255
    mean, std = scaled.mean((0, 1, 2)).tolist(), scaled.std((0, 1, 2), correction=0).tolist()
    result = normalise(images, mean, std)
    assert result.shape == (100, 2, 6, 7)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(result.std((0, 2, 3), correction=0), torch.tensor([1.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), (4, 5, 6, 3), (4, 5, 6, 7, 3)])
def test_channels_come_first_in_inputs_of_any_rank(shape: tuple[int, ...]):
    inputs = torch.zeros(shape, dtype=torch.uint8)
    inputs[..., 1] = 255
    result = normalise(inputs, [0.0] * 3, [1.0] * 3)
    assert result.shape == (shape[0], shape[-1], *shape[1:-1])
    assert (result[:, 1] == 1).all()
    assert (result[:, [0, 2]] == 0).all()
