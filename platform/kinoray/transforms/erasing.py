"""Overwriting a box of a clip, in place."""

import numpy as np
import torch
from torch import Tensor

from kinoray.video.frames import Box


def erase_(clip: Tensor, box: Box, fill: float) -> None:
    """Give a box of ``(C, T, H, W)`` one grey level, in all frames."""
    _part(clip, box).fill_(fill)


def erase_with_noise_(clip: Tensor, box: Box, rng: np.random.Generator) -> None:
    """Give a box of ``(C, T, H, W)`` random levels, the same in all frames."""
    noise = rng.integers(256, size=(len(clip), 1, box.height, box.width), dtype=np.uint8)
    part = _part(clip, box)
    part.copy_(torch.from_numpy(noise).to(clip.device, non_blocking=True).expand_as(part))


def _part(clip: Tensor, box: Box) -> Tensor:
    return clip[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
