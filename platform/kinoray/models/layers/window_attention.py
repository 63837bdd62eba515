"""Attention within the windows of a map, which may be shifted so that parts of several old windows meet in a new one.

Shapes: maps have their channels last, ``(B, T, H, W, D)``; sizes are (time, height, width). A map becomes V windows of
L places each.

Source: arXiv 2103.14030 (shifted windows), 2106.13230 (in time, too). Numbers compared with MMAction2 at 4d6c934.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from kinoray.models.layers.attention import heads
from kinoray.models.layers.transformer import INIT_STD

Size3 = tuple[int, int, int]


class Windows(NamedTuple):
    """How a map is cut.

    Attributes:
        size: of a window.
        shift: how far windows are moved on; what leaves at one end comes in at the other.
        grid: number of windows along each axis; the last ones may reach beyond the map, where there are zeros.
    """

    size: Size3
    shift: Size3
    grid: Size3

    @classmethod
    def of(cls, sides: Sequence[int], largest: Size3, *, shifted: bool) -> Self:
        """Windows for a map of T, H, W: halfway shifted, but along an axis on which one window is enough."""
        size = [min(side, window) for side, window in zip(sides, largest, strict=True)]
        shift = [window // 2 if shifted and side > window else 0 for side, window in zip(sides, largest, strict=True)]
        grid = [-(-side // window) for side, window in zip(sides, size, strict=True)]
        return cls(_three(size), _three(shift), _three(grid))

    def cut(self, maps: Tensor) -> Tensor:
        """``(B, T, H, W, D)`` -> ``(B, V, L, D)``."""
        spare = [
            window * count - side for side, window, count in zip(maps.shape[1:4], self.size, self.grid, strict=True)
        ]
        maps = pad(maps, (0, 0, 0, spare[2], 0, spare[1], 0, spare[0]))
        if any(self.shift):
            maps = maps.roll([-step for step in self.shift], dims=(1, 2, 3))
        parts: Tensor = maps.unflatten(3, (self.grid[2], self.size[2]))
        parts = parts.unflatten(2, (self.grid[1], self.size[1])).unflatten(1, (self.grid[0], self.size[0]))
        return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)

    def join(self, windows: Tensor, sides: Size3) -> Tensor:
        """``(B, V, L, D)`` -> ``(B, T, H, W, D)``: what ``cut`` made of a map of these sides."""
        parts: Tensor = windows.unflatten(2, self.size).unflatten(1, self.grid).permute(0, 1, 4, 2, 5, 3, 6, 7)
        maps = parts.flatten(5, 6).flatten(3, 4).flatten(1, 2)
        if any(self.shift):
            maps = maps.roll(self.shift, dims=(1, 2, 3))
        return maps[:, : sides[0], : sides[1], : sides[2]]

    def apart(self, device: torch.device) -> Tensor | None:
        """Which pairs of places of a window came together from both ends of the map; None where windows stay in place.

        Returns:
            ``(V, L, L)`` bool.
        """
        if not any(self.shift):
            return None
        regions = torch.zeros((), dtype=torch.int64, device=device)
        for window, step, count in zip(self.size, self.shift, self.grid, strict=True):
            side = window * count
            regions = regions[..., None] * 2 + (torch.arange(side, device=device) >= side - step)
        of_places = self._replace(shift=(0, 0, 0)).cut(regions[None, ..., None])[0, :, :, 0]
        return of_places[:, :, None] != of_places[:, None]


def _three(sizes: Sequence[int]) -> Size3:
    t, h, w = sizes
    return t, h, w


class WindowAttention(nn.Module):
    """Every place gathers from its window, by how they match and by what is learned of each step between two places.

    Args:
        width: D.
        num_heads: parts of D that match on their own.
        largest: size of a window; smaller ones will do.
    """

    def __init__(self, width: int, num_heads: int, largest: Size3) -> None:
        super().__init__()
        self.num_heads = num_heads
        t, h, w = (2 * side - 1 for side in largest)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(t * h * w, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=INIT_STD)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor, steps: Tensor, apart: Tensor | None) -> Tensor:
        """Gather within windows.

        Args:
            windows: ``(B, V, L, D)``.
            steps: ``(L, L)``, see ``steps_between``.
            apart: ``(V, L, L)``, pairs that do not see each other; none is that all do.

        Returns:
            ``(B, V, L, D)``.
        """
        num_windows = windows.shape[1]
        q, k, v = heads(self.qkv(windows.flatten(0, 1)), 3, self.num_heads)
        bias = self.relative_position_bias_table[steps].permute(2, 0, 1).to(q.dtype)
        if apart is None:
            gathered = scaled_dot_product_attention(q, k, v, attn_mask=bias[None]).unflatten(0, (-1, num_windows))
        else:
            # Windows become heads: each has a bias of its own, all videos share it.
            of_windows = torch.where(apart[:, None], float("-inf"), bias).flatten(0, 1)
            q, k, v = (part.unflatten(0, (-1, num_windows)).flatten(1, 2) for part in (q, k, v))
            gathered = scaled_dot_product_attention(q, k, v, attn_mask=of_windows[None]).unflatten(1, (num_windows, -1))
        # What computes it depends on whether the bias learns, and so does its order in memory. An export to ONNX does
        # not notice, so nothing may rest on that order.
        mixed: Tensor = self.proj(gathered.transpose(2, 3).clone(memory_format=torch.contiguous_format).flatten(3))
        return mixed


def steps_between(window: Size3) -> Tensor:
    """``(L, L)`` int64: of every pair of places of a window, the number of the step from one to the other."""
    steps = torch.zeros(1, 1, dtype=torch.int64)
    for side in window:
        places = torch.arange(side)
        along = places[:, None] - places + side - 1
        steps = (steps[:, None, :, None] * (2 * side - 1) + along[:, None]).flatten(2, 3).flatten(0, 1)
    return steps
