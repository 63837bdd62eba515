"""Stored planes to RGB of the size that a model sees: cut, resized, converted and mirrored on its device."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.transforms.colours import COLOURS, rgb_from_yuv
from kinoray.transforms.windows import Axis, PackedView, Window

# Floats under way at a time: on a CPU they stay in its cache, on a GPU a few kernels do a view.
_CPU_BYTES, _GPU_BYTES = 1 << 20, 256 << 20


def packed_to_rgb(row: Tensor, views: Sequence[PackedView], colour: int, out: Tensor) -> None:
    """RGB of one video's views.

    Bilinear with antialiasing, as FFmpeg's scaler does it for the decoding side: luma and chroma each on their own
    grid, a triangle as wide as a pixel of the result or of the source, whichever is larger. Every pixel takes the
    chroma of its 2 x 2 block of the resized picture. Nothing is rounded before the end.

    Args:
        row: ``(B,)`` uint8, a packed row.
        views: M views of it, of equal T and side S.
        colour: code of the planes, see ``transforms.colours.COLOURS``.
        out: ``(M, 3, T, S, S)`` uint8, written to; zero where nothing is stored.
    """
    stored = [(view, rgb) for view, rgb in zip(views, out, strict=True) if view.window.frame_bytes]
    if len(stored) < len(views):
        out.zero_()
    if not stored:
        return
    affine = torch.from_numpy(rgb_from_yuv(*COLOURS[colour])).to(out.device, torch.float32, non_blocking=True)
    windows = list(dict.fromkeys(view.window for view, _ in stored))  # clips of a video share theirs
    weights = dict(zip(windows, _weights(windows, out.device), strict=True))
    for view, rgb in stored:
        frame_bytes = view.window.frame_bytes
        planes = row[view.start : view.start + view.num_frames * frame_bytes].view(view.num_frames, frame_bytes)
        for frames in _pieces(view, out.device):
            _convert(planes[frames], view.window, weights[view.window], affine, rgb[:, frames])


def _convert(planes: Tensor, window: Window, weights: Tensor, affine: Tensor, out: Tensor) -> None:
    """``(T, B)`` planes, ``(4, S, L)`` weights and ``(3, 4)`` into ``(3, T, S, S)``."""
    height, width = window.rows.stored, window.columns.stored
    half_height, half_width = -(-height // 2), -(-width // 2)
    luma, chroma = torch.split(planes, [height * width, 2 * half_height * half_width], dim=1)
    of_rows, of_columns, of_chroma_rows, of_chroma_columns = weights
    y = _resized(luma.view(-1, height, width), of_rows, of_columns)
    u, v = _resized(chroma.view(-1, 2, half_height, half_width), of_chroma_rows, of_chroma_columns).unbind(1)
    y_scale, u_scale, v_scale, offset = affine[:, :, None, None, None].unbind(1)
    # Half a level more, since the last step cuts the fraction off.
    levels = torch.addcmul(offset + 0.5, y, y_scale).addcmul_(u, u_scale).addcmul_(v, v_scale)
    out.copy_(levels.clamp_(0, 255))


def _resized(planes: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
    """``(..., H, W)`` uint8 -> ``(..., S, S)`` float32."""
    height, width = planes.shape[-2:]
    return of_rows[:, :height] @ (planes.float() @ of_columns[:, :width].T)


def _weights(windows: Sequence[Window], device: torch.device) -> Tensor:
    """``(V, 4, S, L)``: of each stored pixel in each shown one, for the rows and columns of luma and of chroma.

    L is the longest of the stored axes; what is beyond a shorter one is 0. Past an edge, the pixel at the edge goes on.
    """
    lines = [line for window in windows for line in _lines(window)]
    centres, bounds = (np.stack(part) for part in zip(*lines, strict=True))
    length = max(max(window.rows.stored, window.columns.stored) for window in windows)
    past = math.ceil(bounds[:, 0].max())
    numbers = torch.from_numpy(np.hstack([centres, bounds])).to(device, torch.float32, non_blocking=True)
    centres_there, (reach, first, last) = numbers[:, :-3, None], numbers[:, -3:, None, None].unbind(1)
    pixels = torch.arange(-past, length + past, device=device)
    weights = (1 - (pixels - centres_there).abs_() / reach).clamp_(min=0)
    weights /= weights.sum(-1, keepdim=True)
    for is_past, edge in ((pixels < first, first), (pixels > last, last)):
        beyond = (weights * is_past).sum(-1, keepdim=True)
        weights = weights * ~is_past + beyond * (pixels == edge)
    return weights[..., past : past + length].reshape(len(windows), 4, -1, length)


def _lines(window: Window) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Where each shown pixel lies, ``(S,)``, and (reach, first, last) of the pixels that it is made of; four times."""
    for is_chroma in (False, True):
        for axis, is_mirrored in ((window.rows, False), (window.columns, window.mirror)):
            shown = axis.first + np.arange(window.side)
            yield _line(axis, shown[::-1] if is_mirrored else shown, is_chroma=is_chroma)


def _line(axis: Axis, shown: NDArray[np.int64], *, is_chroma: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stored, start, length, resized, _ = axis
    origin = float(start)
    if is_chroma:  # as FFmpeg has it: half of an odd length is rounded up, and a cut amid a sample takes part in it
        shown, origin, start = shown // 2, start / 2, start // 2
        stored, length, resized = (-(-number // 2) for number in (stored, length, resized))
    ratio = length / resized
    centres = origin + (shown.astype(np.float64) + 0.5) * ratio - 0.5
    return centres, np.array([max(1.0, ratio), max(start, 0), min(start + length, stored) - 1], np.float64)


def _pieces(view: PackedView, device: torch.device) -> Iterator[slice]:
    """Frames to convert together."""
    num_pixels = max(view.window.side**2, view.window.rows.stored * view.window.columns.stored)
    at_once = max(1, (_CPU_BYTES if device.type == "cpu" else _GPU_BYTES) // (num_pixels * 3 * 4))
    for start in range(0, view.num_frames, at_once):
        yield slice(start, start + at_once)
