import torch
from torch import nn

from tests.networks import small


def test_encoder_depends_on_the_positions_of_the_tokens():
    network = small("vit", (12, 12, 1)).eval()
    tokens = torch.randn(1, 9, 8)

    def encode(tokens: torch.Tensor) -> torch.Tensor:
        return network.encoder(tokens + network.positions)

    with torch.no_grad():
        assert not torch.allclose(encode(tokens).flip(1), encode(tokens.flip(1)), atol=1e-3)
        network.positions.zero_()
        torch.testing.assert_close(encode(tokens).flip(1), encode(tokens.flip(1)))


def test_attention_equals_that_of_pytorch():
    attention = small("vit", (12, 12, 1), embed_dim=12, heads=3).encoder[1].attention[1]
    tokens = torch.randn(2, 9, 12)
    queries, keys, values = (
        part.unflatten(2, (3, 4)).transpose(1, 2) for part in attention.inputs(tokens).chunk(3, dim=2)
    )
    expected = nn.functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(tokens), attention.output(expected))
