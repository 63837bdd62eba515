"""Pictures and heatmaps of one clip as a single tensor, on the grid of the heatmaps.

Heatmaps show the same square at a fourth of the side and, for each picture, several frames: their own and those around
it. So a block of 4 x 4 pixels becomes channels of one place, and the frames of one picture become channels, too.
"""

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

BLOCK = 4
"""Pixels of a picture's side for one of a heatmap's."""


def paired(pictures: Tensor, heatmaps: Tensor) -> Tensor:
    """``(B, C, T, 4 * h, 4 * w)`` and ``(B, V, a * T, h, w)`` -> ``(B, 16 * C + V * a, T, h, w)``."""
    blocks = pixel_unshuffle(pictures.transpose(1, 2), BLOCK).transpose(1, 2)
    num_frames = pictures.shape[2]
    maps = heatmaps.unflatten(2, (num_frames, heatmaps.shape[2] // num_frames)).transpose(2, 3).flatten(1, 2)
    return torch.cat([blocks, maps], dim=1)


def unpaired(clips: Tensor, num_channels: int, num_maps: int) -> tuple[Tensor, Tensor]:
    """``(B, 16 * C + V * a, T, h, w)`` -> ``(B, C, T, 4 * h, 4 * w)`` and ``(B, V, a * T, h, w)``.

    Args:
        clips: what ``paired`` made.
        num_channels: C.
        num_maps: V.
    """
    blocks, maps = clips.tensor_split([BLOCK * BLOCK * num_channels], dim=1)
    pictures = pixel_shuffle(blocks.transpose(1, 2), BLOCK).transpose(1, 2)
    heatmaps = maps.unflatten(1, (num_maps, maps.shape[1] // num_maps)).transpose(2, 3).flatten(2, 3)
    return pictures, heatmaps
