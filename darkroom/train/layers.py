"""What training tells apart in a network: the weights of its layers, and its blocks from the inputs to the outputs."""

from collections.abc import Iterator

from torch import Tensor, nn

from darkroom.models.layers import last_layer

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.RNNBase, nn.MultiheadAttention)  # layers that multiply inputs by weights
SEQUENCES = (nn.Sequential, nn.ModuleList)


def layer_weights(network: nn.Module) -> list[Tensor]:
    """The trained weights of convolutions and of dense, recurrent and attention layers; not their biases."""
    layers = (layer for layer in network.modules() if isinstance(layer, LAYERS))
    weights = (weight for layer in layers for weight in layer.parameters(recurse=False))
    return [weight for weight in weights if weight.ndim >= 2 and weight.requires_grad]


def decay_factors(network: nn.Module, decay: float) -> dict[Tensor, float]:
    """The factor of the learning rate by parameter: 1 for the last layer, `decay` for the block before, and so on.

    Clark et al., "ELECTRA", ICLR 2020; for images: Bao et al., "BEiT", ICLR 2022.
    """
    last, *before = reversed(blocks(network))
    found = dict.fromkeys(last, 1.0)
    for distance, block in enumerate(before, 1):
        found |= dict.fromkeys(block, decay**distance)
    return found


def blocks(network: nn.Module) -> list[list[Tensor]]:
    """The parameters of `network` by block, from the inputs to the last layer, which is the last block.

    The members of sequences and lists, such as residual and Transformer blocks, are blocks, and so are layers outside
    of them. A norm belongs to the block before; tokens and positions belong to the first one.
    """
    last = last_layer(network)
    known = {id(parameter) for parameter in last.parameters()}
    found: list[list[Tensor]] = [[]]
    has_layer = False  # whether the newest block has one

    def add(parameters: Iterator[Tensor]) -> None:
        new = [parameter for parameter in parameters if id(parameter) not in known]
        known.update(map(id, new))
        found[-1].extend(new)

    def visit(module: nn.Module) -> None:
        nonlocal has_layer
        if module is network or isinstance(module, SEQUENCES) or _holds_blocks(module):
            add(module.parameters(recurse=False))
            for child in module.children():
                visit(child)
            return
        if module is not last and _has_layers(module, last):
            if has_layer:
                found.append([])
            has_layer = True
        add(module.parameters())

    visit(network)
    return [*found, list(last.parameters())]


def _holds_blocks(module: nn.Module) -> bool:
    """Whether the module is mostly a sequence of blocks, as encoders and stages are."""
    for sequence in module.children():
        if isinstance(sequence, SEQUENCES) and 2 * _size(sequence) > _size(module):
            members = [member for member in sequence if _has_layers(member)]
            if len(members) > 1 and not any(isinstance(member, LAYERS + SEQUENCES) for member in members):
                return True
    return False


def _has_layers(module: nn.Module, besides: nn.Module | None = None) -> bool:
    return any(isinstance(layer, LAYERS) and layer is not besides for layer in module.modules())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
