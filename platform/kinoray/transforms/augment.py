"""Augmentation of a batch of clips on the device that trains."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.transforms.draws import AUGMENT, clip_rng
from kinoray.transforms.kinds import AugmentationConfig
from kinoray.transforms.pieces import change_some, frame_parts

# Floats under way at a time on a GPU, where few large operations are fast. A CPU takes one clip after the other.
_GPU_BYTES = 256 << 20


def apply_augmentations(
    configs: Sequence[AugmentationConfig], clips: Tensor, clip_seeds: NDArray[np.integer]
) -> Tensor:
    """Change the pixels of a batch, one augmentation after the other.

    What is drawn depends on the clip's seed, its view and the augmentation's place in the list alone. On a CPU a clip
    comes out with the same bits whatever else is in the batch; a GPU rounds otherwise, which can move a level by 1.

    Args:
        configs: in the order in which they apply.
        clips: ``(N, M, 3, T, H, W)`` RGB in 0..255, uint8 or floating; not written to.
        clip_seeds: N, of the plan.

    Returns:
        The same shape, dtype and order in memory; of uint8, rounded once.
    """
    if not configs:
        return clips
    views = clips.flatten(0, 1)
    keys = [(int(seed), view) for seed in clip_seeds for view in range(clips.shape[1])]
    result = torch.empty_like(views)
    floats = torch.empty(0)
    for some in _pieces(views):
        draws = [_draw(config, place, keys[some]) for place, config in enumerate(configs)]
        if not any(rngs for _, rngs in draws):
            result[some] = views[some]
            continue
        if len(floats) != len(views[some]):
            floats = torch.empty(views[some].shape, device=views.device)
        changed = floats.copy_(views[some])
        for config, (which, rngs) in zip(configs, draws, strict=True):
            changed = change_some(changed, which, partial(_applied, config, rngs))
        _store(changed, result[some])
    return result.view(clips.shape)


def _draw(
    config: AugmentationConfig, place: int, keys: Sequence[tuple[int, int]]
) -> tuple[list[int], list[np.random.Generator]]:
    """Which of the clips of these seeds and views are changed, and their generators."""
    rngs = [clip_rng(seed, AUGMENT, place, view) for seed, view in keys]
    which = [number for number, rng in enumerate(rngs) if rng.random() < config.probability]
    return which, [rngs[number] for number in which]


def _store(clips: Tensor, result: Tensor) -> None:
    """Write ``(B, C, T, H, W)`` floats, rounded where the result takes whole levels only."""
    for part, stored in zip(frame_parts(clips), frame_parts(result), strict=True):
        stored.copy_(part if stored.is_floating_point() else part.add_(0.5).clamp_(0, 255))


def _applied(config: AugmentationConfig, rngs: Sequence[np.random.Generator], clips: Tensor) -> Tensor:
    return config.apply(clips, rngs)


def _pieces(views: Tensor) -> Iterator[slice]:
    """Views to change together."""
    at_once = 1 if views.device.type == "cpu" else max(1, _GPU_BYTES // (views[0].numel() * 4))
    for first in range(0, len(views), at_once):
        yield slice(first, first + at_once)
