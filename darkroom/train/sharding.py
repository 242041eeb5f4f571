"""Networks that do not fit one device: each process holds a part of every weight and of its optimiser state.

Zhao et al., "PyTorch FSDP: experiences on scaling fully sharded data parallel", VLDB 2023; here its second version,
`fully_shard`. A block's weights are gathered for its forward and its backward pass, and freed again.
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

MIN_FRACTION = 0.01  # of the weights: smaller blocks are gathered with the rest, since each block takes a message

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def shard(network: nn.Module) -> None:
    """Replace the parameters of `network` by distributed ones (DTensor), split along their first dimension.

    Gradients are summed over the processes. Needs torch.distributed; all processes must hold the same network.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # losses change no logits
    device = next(network.parameters()).device.type
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    network.to(memory_format=torch.contiguous_format)  # the only one that FSDP2 takes
    for block in [*blocks(network), network]:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The members of sequences and lists of modules, such as residual and Transformer blocks, outermost first.

    The rest of the network is one more block: a module elsewhere may be used without a call of its own.
    """
    smallest = MIN_FRACTION * _size(network)

    def find(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            is_member = isinstance(module, _CONTAINERS) and not isinstance(child, _CONTAINERS)
            if is_member and _size(child) >= smallest:
                yield child
            elif not is_member:
                yield from find(child)

    return find(network)


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or a distributed one gathered whole; all processes must call it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, or this process's part of it if `like`, of the same shape, is distributed."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def is_sharded(tensor: Tensor) -> bool:
    """Whether the tensor is a DTensor, of which this process holds a part."""
    return hasattr(tensor, "full_tensor")


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
