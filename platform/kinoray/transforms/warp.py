"""Shear, shift and rotate clips, in place."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from kinoray.transforms.augmentations import Interpolation
from kinoray.transforms.pieces import frame_parts

Affine = NDArray[np.float64]
"""``(2, 3)``: takes x, y, 1 of the result, in pixels from the picture's centre, to x, y of the source."""


def warp_(clips: Tensor, affines: Sequence[Affine], interpolation: Interpolation, fill: float) -> None:
    """Move the pixels of ``(B, C, T, H, W)``, all frames of a clip in the same way.

    Args:
        clips: float32 grey levels.
        affines: B of them.
        interpolation: between the pixels of the source.
        fill: grey level of what lies outside the source.
    """
    height, width = clips.shape[-2:]
    of_halves = np.array([width / 2, height / 2, 1])
    # The grid counts halves of the picture.
    theta = np.stack(affines) * of_halves / of_halves[:2, None]
    on_device = torch.from_numpy(theta.astype(np.float32)).to(clips.device, non_blocking=True)
    grid = affine_grid(on_device, [len(clips), 1, height, width], align_corners=False)
    for part in frame_parts(clips):
        # Channels and frames of a clip share its grid. Outside is 0, so 0 has to mean the fill.
        pictures = part.sub_(fill).flatten(1, 2)
        moved = grid_sample(pictures, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
        torch.add(moved.view_as(part), fill, out=part)


def shear_x(slope: float, height: int) -> Affine:
    """Rows move left the more, the lower they are; the top edge stays."""
    return np.array([[1, slope, slope * height / 2], [0, 1, 0]])


def shear_y(slope: float, width: int) -> Affine:
    """Columns move up the more, the further right they are; the left edge stays."""
    return np.array([[1, 0, 0], [slope, 1, slope * width / 2]])


def translation(right: float, down: float) -> Affine:
    """A shift, in pixels."""
    return np.array([[1, 0, -right], [0, 1, -down]])


def rotation(degrees: float) -> Affine:
    """Counter-clockwise about the centre."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, -sin, 0], [sin, cos, 0]])
