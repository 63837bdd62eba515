"""Pictures of skeletons, made on the device: each joint or limb a bell curve in a heatmap of its own.

Points travel instead of pictures: 48 frames of two persons are 20 kB as joints, and 10 MB as heatmaps.

Source: arXiv 2104.13586. Numbers compared with GeneratePoseTarget of MMAction2 at 4d6c934.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

REACH = 3
"""Standard deviations from its centre beyond which a bell curve is cut off, in whole pixels."""
MIN_SCORE = 1e-4
"""Joints that are less sure are not drawn."""
# Limbs shorter than a pixel have no direction.
_MIN_LENGTH = 1.0


def joint_heatmaps(points: Tensor, side: int, sigma: float) -> Tensor:
    """``(B, P, T, V, 3)`` x, y and score -> ``(B, V, T, side, side)``, of persons the largest value.

    Args:
        points: in pixels of the heatmap.
        side: of the heatmap.
        sigma: of the bell curve, in pixels.
    """
    points = points.transpose(2, 3)
    maps = points.new_zeros((*points[:, 0, ..., 0].shape, side, side))
    for person in points.unbind(1):
        maps = torch.maximum(maps, _bells(person, side, sigma))
    return maps


def limb_heatmaps(points: Tensor, limbs: Sequence[tuple[int, int]], side: int, sigma: float) -> Tensor:
    """``(B, P, T, V, 3)`` -> ``(B, L, T, side, side)`` for L limbs, each between two joints; see ``joint_heatmaps``.

    A limb's score is the lesser of its joints', and its bell curve falls off with the distance from the line.
    """
    maps = []
    for start, end in limbs:
        of_persons = [_ridge(person[..., start, :], person[..., end, :], side, sigma) for person in points.unbind(1)]
        maps.append(torch.stack(of_persons).amax(0))
    return torch.stack(maps, dim=1)


def with_mirrored(maps: Tensor, mirrored: Sequence[int]) -> Tensor:
    """``(N, M, V, T, H, W)`` -> ``(N, 2 * M, V, T, H, W)``: all views, then their mirror images.

    Args:
        maps: one heatmap for each joint or limb.
        mirrored: of each joint or limb the one that a mirror shows in its place.
    """
    return torch.cat([maps, maps[:, :, list(mirrored)].flip(-1)], dim=1)


def _bells(points: Tensor, side: int, sigma: float) -> Tensor:
    """``(..., 3)`` -> ``(..., side, side)``."""
    x, y, score = points.unbind(-1)
    rows, columns = _bell(y, side, sigma), _bell(x, side, sigma)
    score = torch.where(score >= MIN_SCORE, score, 0)
    return rows[..., :, None] * columns[..., None, :] * score[..., None, None]


def _bell(centre: Tensor, side: int, sigma: float) -> Tensor:
    """``(...)`` -> ``(..., side)``."""
    places = torch.arange(side, device=centre.device, dtype=centre.dtype)
    curve = torch.exp(-((places - centre[..., None]) ** 2) / (2 * sigma**2))
    return curve * _within(centre, centre, side, sigma)


def _within(low: Tensor, high: Tensor, side: int, sigma: float) -> Tensor:
    """``(...)`` -> ``(..., side)`` bool: which places a bell curve between the two reaches."""
    places = torch.arange(side, device=low.device, dtype=low.dtype)
    first, last = (low - REACH * sigma).trunc(), (high + REACH * sigma).trunc()
    return (places >= first[..., None]) & (places <= last[..., None])


def _ridge(start: Tensor, end: Tensor, side: int, sigma: float) -> Tensor:
    """Two joints ``(..., 3)`` -> ``(..., side, side)``."""
    score = torch.minimum(start[..., 2], end[..., 2])
    score = torch.where(score >= MIN_SCORE, score, 0)
    places = torch.arange(side, device=start.device, dtype=start.dtype)
    dx, dy = (end[..., :2] - start[..., :2]).unbind(-1)
    length = dx**2 + dy**2
    from_x = places - start[..., 0, None]
    from_y = places - start[..., 1, None]
    along = from_y[..., :, None] * dy[..., None, None] + from_x[..., None, :] * dx[..., None, None]
    share = (along / length.clamp(min=_MIN_LENGTH)[..., None, None]).clamp(0, 1)
    away_x = from_x[..., None, :] - share * dx[..., None, None]
    away_y = from_y[..., :, None] - share * dy[..., None, None]
    ridge = torch.exp(-(away_x**2 + away_y**2) / (2 * sigma**2))
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    rows = _within(low[..., 1], high[..., 1], side, sigma)
    columns = _within(low[..., 0], high[..., 0], side, sigma)
    ridge = ridge * (rows[..., :, None] & columns[..., None, :]) * score[..., None, None]
    bells = _bells(start, side, sigma) * (score > 0)[..., None, None]
    return torch.where((length < _MIN_LENGTH)[..., None, None], bells, ridge)
