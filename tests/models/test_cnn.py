import torch
from torch import Tensor, nn

from tests.networks import small


def test_pooling_before_relu_gives_the_outputs_and_gradients_of_the_classic_order():
    network, images = small("cnn", (14, 14, 1)), torch.randn(8, 1, 14, 14)
    first, pool, relu, second, *_ = network.features
    classic = nn.Sequential(first, relu, pool, second, relu, pool, network.hidden, network.head)

    def gradients(of: nn.Module) -> tuple[Tensor, ...]:
        outputs = of(images.bfloat16().float())  # rounded, so that some values are equal
        return outputs, *torch.autograd.grad(outputs.square().sum(), list(network.parameters()))

    for one, other in zip(gradients(network), gradients(classic), strict=True):
        assert torch.equal(one, other)
