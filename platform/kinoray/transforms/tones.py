"""Posterize, solarize, equalize, stretch and sharpen clips, in place.

All functions take clips ``(B, C, T, H, W)`` float32 of grey levels 0..255 and compute what torchvision's functions of
the same names do with a uint8 picture; here the picture is the whole clip, so that what a function measures (the
darkest level, the histogram) does not flicker from frame to frame.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kinoray.transforms.pieces import frame_parts, per_clip, where_true


def posterize_(clips: Tensor, num_bits: Sequence[int]) -> None:
    """Keep the high bits of every level, which is rounded before: 8 leaves whole levels as they are, 0 is black."""
    step = per_clip([2 ** (8 - bits) for bits in num_bits], clips)
    for part in frame_parts(clips):
        part.add_(0.5).div_(step).floor_().mul_(step)


def solarize_(clips: Tensor, thresholds: Sequence[float]) -> None:
    """Invert levels from a threshold on."""
    threshold = per_clip(thresholds, clips)
    for part in frame_parts(clips):
        part.addcmul_(where_true(torch.ge, part, threshold), part.mul(-2).add_(255))


def autocontrast_(clips: Tensor) -> None:
    """Stretch each channel so that its darkest level becomes 0 and its brightest 255."""
    darkest, brightest = (edge(dim=(2, 3, 4), keepdim=True) for edge in (clips.amin, clips.amax))
    is_flat = darkest == brightest
    scale = torch.where(is_flat, 1.0, 255 / (brightest - darkest))
    offset = torch.where(is_flat, 0.0, darkest)
    for part in frame_parts(clips):
        part.sub_(offset).mul_(scale).clamp_(0, 255)


def equalize_(clips: Tensor) -> None:
    """Spread the levels of each channel so that all are about as frequent. Levels are rounded.

    Source: the integer arithmetic is Pillow's ``ImageOps.equalize``, which torchvision follows.
    """
    for channel in clips.flatten(0, 1):
        levels = (channel + 0.5).to(torch.uint8).flatten()
        table = _equalizing_table(torch.bincount(levels, minlength=256))
        channel.copy_(table.index_select(0, levels.int()).view_as(channel))


def _equalizing_table(counts: Tensor) -> Tensor:
    """``(256,)`` counts of levels -> ``(256,)`` float32 new levels."""
    before = counts.cumsum(0) - counts
    # The pixels of the brightest level that occurs are not counted.
    step = torch.where(counts > 0, before, 0).amax() // 255
    spread = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    return torch.where(step == 0, torch.arange(256, device=counts.device), spread).float()


def adjust_sharpness_(clips: Tensor, factors: Sequence[float]) -> None:
    """Away from (above 1) or towards (below 1) a slightly blurred copy; the outermost pixels stay."""
    # The blur has weights 5 for the pixel and 1 for each of its 8 neighbours, of 13; the box below has 9 ones.
    weight = per_clip([(1 - factor) / 13 for factor in factors], clips)
    for part in frame_parts(clips):
        inner = part[..., 1:-1, 1:-1]
        rows = (part[..., :-2, :] + part[..., 1:-1, :]).add_(part[..., 2:, :])
        box = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
        inner.add_(box.sub_(inner, alpha=9).mul_(weight)).clamp_(0, 255)
