"""The workers of a run as seen from one of them; one worker needs no process group."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This worker's place among all of them."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over workers, on every worker; may change ``values`` in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, item: Any) -> list[Any]:
        """Every worker's item, by rank, on rank 0; an empty list elsewhere."""
        if self.size == 1:
            return [item]
        items = [None] * self.size if self.is_first else None
        dist.gather_object(item, items)
        return items or []

    def share(self, item: T) -> T:
        """The item of rank 0, on every worker."""
        if self.size == 1:
            return item
        items = [item]
        dist.broadcast_object_list(items)
        return items[0]

    def average_buffers(self, model: nn.Module) -> None:
        """Make running statistics the same on all workers: each has seen its own share of the videos."""
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        # In float64 the mean of equal numbers is that number, so constants such as a normalization stay to the bit.
        flat = torch.cat([buffer.flatten().double() for buffer in buffers])
        dist.all_reduce(flat)
        flat /= self.size
        for buffer, mean in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))

    def describe(self) -> str:
        """The device in words, e.g. ``cpu`` or ``cuda (NVIDIA H200)``."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type
