"""Where samples lie in planes of YUV 4:2:0 that are stored one after the other."""

import numpy as np
from numpy.typing import NDArray

from kinoray.video.frames import Box


def split_planes(
    planes: NDArray[np.uint8], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """``(..., B)`` planes as views of Y ``(..., H, W)`` and of U and V, rounded up ``(..., H / 2, W / 2)``."""
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    luma, chroma = height * width, half_height * half_width
    y, u, v = np.split(planes, [luma, luma + chroma], axis=-1)
    half = (*planes.shape[:-1], half_height, half_width)
    return y.reshape(*planes.shape[:-1], height, width), u.reshape(half), v.reshape(half)


def source_box(box: Box, size: tuple[int, int], stored: tuple[int, int]) -> Box:
    """What of a picture takes part in ``box`` of it resized to ``size``, bilinear: native planes and no more."""
    top, bottom = _reach(box.top, box.height, size[0], stored[0])
    left, right = _reach(box.left, box.width, size[1], stored[1])
    return Box(top, left, bottom - top, right - left).widened(stored)


def _reach(first: int, length: int, resized: int, stored: int) -> tuple[int, int]:
    ratio = stored / resized
    margin = 2 * max(1.0, ratio) + 4  # a sample of chroma reaches over two pixels of luma, and lies up to two beside
    return max(0, int(first * ratio - margin)), min(stored, int((first + length) * ratio + margin) + 1)


def cut_planes(planes: NDArray[np.uint8], size: tuple[int, int], box: Box, out: NDArray[np.uint8]) -> None:
    """Write a box that is ``widened`` of ``(T, B)`` planes of ``size`` into ``(T, B')``."""
    parts = split_planes(planes, *size), split_planes(out, box.height, box.width)
    for source, target, grid in zip(*parts, (1, 2, 2), strict=True):
        height, width = target.shape[-2:]
        target[...] = source[:, box.top // grid :, box.left // grid :][:, :height, :width]
