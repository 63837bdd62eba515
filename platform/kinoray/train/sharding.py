"""A network that is split over the workers (FSDP2): each keeps a part of every tensor and of what belongs to it.

Where nothing is sharded, these functions change nothing. Torch's tensors of several devices are imported where they
are needed: they take half a second.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import Tensor, nn
from torch.optim import Optimizer

from kinoray.train.world import World

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


def shard(net: nn.Module, blocks: Sequence[nn.Module], world: World) -> None:
    """Split a network in place; a block's weights are put together while it computes, all others' once a step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # A recognizer's logits are a view, and no loss writes into them.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in (*blocks, net):
        fully_shard(module, mesh=mesh)


def is_sharded(net: nn.Module) -> TypeGuard["FSDPModule"]:
    """Whether a network, or a part of one, was split by ``shard``."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(net, FSDPModule)


@contextmanager
def unsharded(net: nn.Module) -> Iterator[None]:
    """Every worker holds all weights, so that it may call the network more often or less than the others."""
    # The network itself comes first.
    parts = [module for module in net.modules() if is_sharded(module)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for number, part in enumerate(parts):
            part.set_reshard_after_forward(number > 0, recurse=False)
            part.reshard()


def gathered(values: Any, *, keep: bool) -> Any:
    """Nested values with every tensor whole; all workers have to ask for them.

    Args:
        values: mappings and lists of anything.
        keep: whether this worker wants them: what was sharded comes on the CPU; None in its place elsewhere.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(values, DTensor):
        whole_value = values.full_tensor().detach()
        return whole_value.cpu() if keep else None
    if isinstance(values, dict):
        return {key: gathered(value, keep=keep) for key, value in values.items()}
    if isinstance(values, list):
        return [gathered(value, keep=keep) for value in values]
    return values


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each worker may have a part, on every worker."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_part(tensor: Tensor) -> Tensor:
    """What this worker holds of a tensor, which may be all of it."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_state(optimizer: Optimizer) -> None:
    """Split what an optimizer remembers as its parameters are."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    for parameter, state in optimizer.state.items():
        if isinstance(parameter, DTensor):
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = distribute_tensor(value, parameter.device_mesh, parameter.placements)
