"""Packed rows between the pipeline and the model."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.data.packing import read_views, used_bytes
from kinoray.transforms.resize import packed_to_rgb


@dataclass(frozen=True)
class PackedClips:
    """Packed rows of a batch, as ``ClipRow`` has them.

    Attributes:
        data: ``(B,)`` uint8, in which the rows lie. May alias memory that other processes read: never written.
        starts: where each of the N rows begins.
    """

    data: NDArray[np.uint8]
    starts: tuple[int, ...]

    @classmethod
    def of_rows(cls, rows: NDArray[np.uint8]) -> "PackedClips":
        """Of ``(N, B)``, contiguous."""
        return cls(rows.reshape(-1), tuple(range(0, rows.size, rows.shape[1])))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, part: slice) -> "PackedClips":
        return replace(self, starts=self.starts[part])

    def row(self, index: int) -> NDArray[np.uint8]:
        """What is in use of a row."""
        row = self.data[self.starts[index] :]
        return row[: used_bytes(row)]

    def rgb_on(self, device: torch.device, kept: Sequence[int], colours: Sequence[int]) -> Tensor:
        """``(N, M, C, T, H, W)`` uint8 on a device, of the rows that are kept; ``colours`` are theirs.

        Only what is in use goes there, in one copy from pinned memory that nobody waits for.
        """
        rows = [self.row(index) for index in kept]
        views = [read_views(row) for row in rows]
        first = views[0][0]
        side = first.window.side
        rgb = torch.empty((len(rows), len(views[0]), 3, first.num_frames, side, side), dtype=torch.uint8, device=device)
        there = _moved(rows, device)
        for row, of_row, colour, out in zip(there, views, colours, rgb, strict=True):
            packed_to_rgb(row, of_row, colour, out)
        return rgb


def _moved(rows: Sequence[NDArray[np.uint8]], device: torch.device) -> Sequence[Tensor]:
    """The rows on a device; on a CPU nothing is copied."""
    if device.type != "cuda":
        with warnings.catch_warnings():
            # The array is read-only because it lies in shared memory; nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            return [torch.from_numpy(row).to(device) for row in rows]
    sizes = [len(row) for row in rows]
    pinned = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
    np.concatenate(rows, out=pinned.numpy())
    return torch.split(pinned.to(device, non_blocking=True), sizes)
