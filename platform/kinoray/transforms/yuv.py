"""Planes of YUV 4:2:0 to RGB on the device that trains: half the bytes travel, and the decoding side is spared it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from kinoray.transforms.colours import COLOURS, rgb_from_yuv

# Floats under way at a time: on a CPU they stay in its cache (twice as fast), on a GPU a few kernels do a batch.
_CPU_BYTES, _GPU_BYTES = 1 << 20, 256 << 20


def planes_to_rgb(planes: Tensor, colours: Sequence[int]) -> Tensor:
    """RGB of clips that came as planes.

    Every pixel takes the chroma sample of its 2 x 2 block, as FFmpeg's own conversion does. What differs is that the
    result is rounded once, to the nearest level, where FFmpeg rounds each product down: of the same planes it makes
    up to 3 grey levels less, 1.2 on average.

    Args:
        planes: ``(N, M, T, 3 * H / 2, W)`` uint8, H and W even: the rows of Y, then U and V, each ``H / 2 x W / 2``
            without gaps.
        colours: N codes, see ``transforms.colours.COLOURS``.

    Returns:
        ``(N, M, 3, T, H, W)`` uint8.
    """
    num_videos, num_views, num_frames, rows, width = planes.shape
    height = rows * 2 // 3
    affine = np.stack([rgb_from_yuv(*COLOURS[code]) for code in colours for _ in range(num_views)])
    of_view = torch.from_numpy(affine).to(planes.device, torch.float32, non_blocking=True)
    views = planes.flatten(0, 1)
    rgb = torch.empty((len(views), 3, num_frames, height, width), dtype=torch.uint8, device=planes.device)
    for some, frames in _pieces(len(views), num_frames, height * width, planes.device):
        _convert(views[some, frames], of_view[some], rgb[some, :, frames])
    return rgb.view(num_videos, num_views, *rgb.shape[1:])


def _convert(planes: Tensor, affine: Tensor, out: Tensor) -> None:
    """``(V, T, 3 * H / 2, W)`` planes and ``(V, 3, 4)`` into ``(V, 3, T, H, W)``."""
    num_views, _, num_frames, height, width = out.shape
    y_scale, u_scale, v_scale, offset = affine[:, :, :, None, None, None].unbind(2)
    y, u, v = torch.split(planes.flatten(2), [height * width, height * width // 4, height * width // 4], dim=2)
    luma = y.view(num_views, 1, num_frames, height // 2, 2, width)
    u, v = (_doubled(chroma.view(num_views, 1, num_frames, height // 2, width // 2)) for chroma in (u, v))
    # Half a level more, since the last step cuts the fraction off. One row of tint serves two of luma.
    tint = torch.addcmul(torch.addcmul(offset + 0.5, u, u_scale), v, v_scale).unsqueeze(4)
    levels = torch.addcmul(tint, luma, y_scale.unsqueeze(4)).clamp_(0, 255)
    out.view(num_views, 3, num_frames, height // 2, 2, width).copy_(levels)


def _doubled(chroma: Tensor) -> Tensor:
    """``(..., W)`` uint8 -> ``(..., 2 * W)``: every byte twice in a row, as one number of two equal bytes."""
    return (chroma.to(torch.int16) * 257).view(torch.uint8)


def _pieces(num_views: int, num_frames: int, num_pixels: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Views and frames to convert together."""
    at_once = max(1, (_CPU_BYTES if device.type == "cpu" else _GPU_BYTES) // (num_pixels * 3 * 4))
    views_at_once, frames_at_once = max(1, at_once // num_frames), min(at_once, num_frames)
    for view in range(0, num_views, views_at_once):
        for frame in range(0, num_frames, frames_at_once):
            yield slice(view, view + views_at_once), slice(frame, frame + frames_at_once)
