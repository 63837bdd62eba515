"""What networks of skeletons are made of: a norm of coordinates and convolutions over time.

Shapes: B views, P persons, T frames, V joints, C channels; behind the norm a person is a sample of its own,
``(B * P, C, T, V)``.

Source: arXiv 1801.07455 (convolutions over time), 2205.09443 (several scales of them). Numbers compared with unit_tcn
and mstcn of MMAction2 at 4d6c934.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class CoordinateNorm(nn.Module):
    """A batch norm of which every coordinate of every joint is a channel.

    Args:
        num_coordinates: C of the input, joints times coordinates are channels.
        num_joints: V.
        num_persons: each of so many persons has channels of its own; None: all share theirs.
    """

    def __init__(self, num_coordinates: int, num_joints: int, num_persons: int | None) -> None:
        super().__init__()
        self.tells_persons = num_persons is not None
        self.bn = nn.BatchNorm1d((num_persons or 1) * num_joints * num_coordinates)

    def forward(self, skeletons: Tensor) -> Tensor:
        """``(B, P, T, V, C)`` -> ``(B * P, C, T, V)``."""
        b, p, t, v, c = skeletons.shape
        series = skeletons.permute(0, 1, 3, 4, 2).reshape(b if self.tells_persons else b * p, -1, t)
        normalized: Tensor = self.bn(series)
        return normalized.reshape(b * p, v, c, t).permute(0, 2, 3, 1).contiguous()


class TimeConv(nn.Module):
    """Each joint over so many frames: convolution and batch norm. ``(B, C, T, V)`` -> ``(B, C', T / stride, V)``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 9, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(_bias(self.conv))

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.bn(self.conv(x))
        return normalized


class _Scale(nn.Sequential):
    """One branch of ``ManyScaleTimeConv``: fewer channels, then a look over time."""

    def __init__(self, in_channels: int, channels: int, time: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.time = time


class ManyScaleTimeConv(nn.Module):
    """Six branches side by side: 3 frames at four distances, the largest of 3 frames, and the frame itself.

    ``(B, C, T, V)`` -> ``(B, C, T / stride, V)``.
    """

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        share = channels // 6
        first = channels - 5 * share
        self.branches = nn.ModuleList(
            _Scale(channels, width, _dilated(width, distance, stride))
            for distance, width in zip((1, 2, 3, 4), (first, share, share, share), strict=True)
        )
        self.branches.append(_Scale(channels, share, nn.MaxPool2d((3, 1), (stride, 1), (1, 0))))
        self.branches.append(nn.Conv2d(channels, share, 1, (stride, 1)))
        self.mix = nn.Sequential()
        self.mix.add_module("bn", nn.BatchNorm2d(channels))
        self.mix.add_module("relu", nn.ReLU())
        self.mix.add_module("conv", nn.Conv2d(channels, channels, 1))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        scales = torch.cat([branch(x) for branch in self.branches], dim=1)
        normalized: Tensor = self.bn(self.mix(scales))
        return normalized


def _dilated(channels: int, distance: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, (3, 1), (stride, 1), (distance, 0), (distance, 1))
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(_bias(conv))
    return conv


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


class SkeletonBlock(nn.Module):
    """A convolution over joints, one over time, and a way around both.

    Args:
        gcn: ``(B, C, T, V)`` -> ``(B, C', T, V)``.
        tcn: ``(B, C', T, V)`` -> ``(B, C', T / stride, V)``.
        shortcut: from the block's input to the shape of its output; None for a block without.
    """

    def __init__(self, gcn: nn.Module, tcn: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.gcn, self.tcn, self.shortcut = gcn, tcn, shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tcn(self.gcn(x))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class BlockSize(NamedTuple):
    """Of one block of a network: channels before and after it, and over how many frames it steps."""

    in_channels: int
    channels: int
    stride: int


def block_sizes(in_channels: int, width: int, num_blocks: int, halving: Sequence[int]) -> list[BlockSize]:
    """One for each block.

    Args:
        in_channels: C of the input.
        width: channels of the first block.
        num_blocks: of the network.
        halving: numbers of blocks, counted from 1, that halve the frames and double the channels.
    """
    sizes = [BlockSize(in_channels, width, 1)]
    for number in range(2, num_blocks + 1):
        before, factor = sizes[-1].channels, 2 if number in halving else 1
        sizes.append(BlockSize(before, before * factor, factor))
    return sizes


def block_shortcut(size: BlockSize, *, is_first: bool) -> nn.Module | None:
    """The way around a block; the first block has none, for coordinates are no features."""
    if is_first:
        return None
    if size.stride == 1 and size.in_channels == size.channels:
        return nn.Identity()
    return TimeConv(size.in_channels, size.channels, 1, stride=size.stride)
