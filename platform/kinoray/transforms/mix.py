"""Mixup and cutmix: two videos of a batch become one, and so do their targets."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.transforms.draws import MIX, clip_rng
from kinoray.transforms.kinds import MixConfig
from kinoray.transforms.pieces import frame_parts
from kinoray.video.frames import Box


def mix(
    config: MixConfig,
    clips: Tensor,
    targets: Tensor,
    clip_seeds: NDArray[np.integer],
    positions: NDArray[np.integer],
) -> tuple[Tensor, Tensor]:
    """Mix every video with its neighbour in the plan, whose order is random.

    What is drawn depends on a video's seed alone, and pairs on positions alone: as long as an even number of videos
    goes to each worker (and into each micro-batch), the number of workers changes nothing. A video whose neighbour is
    absent (elsewhere, or unreadable) stays as it is.

    Args:
        config: how.
        clips: ``(N, M, C, T, H, W)`` in 0..255, uint8 or floating; not written to. The M views of a video are mixed
            alike, each with the same view of the other.
        targets: ``(N, K)`` floating, shares of the classes.
        clip_seeds: N, of the plan.
        positions: N, places in the plan.

    Returns:
        The same shapes and dtypes.
    """
    mixed, shares = clips.clone(), targets.clone()
    height, width = clips.shape[-2:]
    for video, other in enumerate(partners(positions)):
        rng = clip_rng(int(clip_seeds[video]), MIX)
        chance, choice = rng.random(2)
        if other == video or chance >= config.probability:
            continue
        if choice < _cutmix_share(config):
            box = cutmix_box(height, width, rng.beta(config.cutmix, config.cutmix), rng)
            share = 1 - box.height * box.width / (height * width)
            place = (..., slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
            mixed[video][place] = clips[other][place]
        else:
            share = rng.beta(config.mixup, config.mixup)
            _blend(clips[video], clips[other], share, out=mixed[video])
        shares[video] = targets[video] * share + targets[other] * (1 - share)
    return mixed, shares


def partners(positions: NDArray[np.integer]) -> list[int]:
    """For each video the index of its partner, or its own: places 2k and 2k + 1 of the plan are a pair."""
    index = {int(position): video for video, position in enumerate(positions)}
    return [index.get(int(position) ^ 1, video) for video, position in enumerate(positions)]


def cutmix_box(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """A box of the picture's shape, of (1 - share) of its area, centred anywhere and cut off at the edges."""
    side = math.sqrt(1 - share)
    rows, columns = round(height * side), round(width * side)
    top, left = (int(rng.random() * full) - length // 2 for full, length in ((height, rows), (width, columns)))
    bottom, right = min(top + rows, height), min(left + columns, width)
    top, left = max(top, 0), max(left, 0)
    return Box(top, left, bottom - top, right - left)


def _cutmix_share(config: MixConfig) -> float:
    """Of the mixed videos."""
    return (config.cutmix > 0) / ((config.cutmix > 0) + (config.mixup > 0))


def _blend(clip: Tensor, other: Tensor, share: float, out: Tensor) -> None:
    """``(M, C, T, H, W)``: share of the clip, the rest of the other."""
    for mine, theirs, result in zip(*map(frame_parts, (clip, other, out)), strict=True):
        blended = torch.add(mine * share, theirs, alpha=1 - share)
        result.copy_(blended if result.is_floating_point() else blended.add_(0.5))
