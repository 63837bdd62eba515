"""Which of many videos show the same footage, by their fingerprints.

Pictures alone would find every video of one fixed camera. What moves is compared instead: how each picture differs from
the video's mean. Where nothing moves, two videos of one scene are the same.

Nobody compares all with all. Videos meet only in cells around some of them, where two cheap tests of what both show
on the average (its structure, and where it moves) leave few pairs to be compared in earnest. So N videos cost
about N * sqrt(N) multiplications of short vectors.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

MAX_DISTANCE = 0.15
"""docs/prepare.md has the measurement."""
MIN_SCENE, MIN_MOTION = 0.75, 0.85
"""Cosines below which a pair is not compared; of 1,230 copies all but one had 0.76 and 0.87 at least."""
MIN_OVERLAP, MIN_DURATION_RATIO = 0.7, 0.6
NUM_OFFSETS = 31
"""Of one video against the other in time."""
COARSE, MAX_COARSE_DISTANCE = 3, 0.35
"""Pairs are first compared at so many times fewer times and offsets, and once more if they are not farther apart."""
NOISE = 0.3
"""Variance, in squared grey levels, that coding alone gives a pixel."""
MAX_SINGLE_CELL = 4_096
"""As many videos are compared all with all."""
CELLS_PER_VIDEO = 3
ROWS_AT_ONCE, PAIRS_AT_ONCE = 1_024, 256


class Pairs(NamedTuple):
    """P pairs of videos, as numbers, with ``first < second``; ``distance`` is from 0 (equal) to ``MAX_DISTANCE``."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: Floats


def like_pairs(pictures: NDArray[np.uint8], durations_seconds: NDArray[np.float64]) -> Pairs:
    """All pairs that show the same footage.

    Args:
        pictures: ``(N, T, P)``, luma of T pictures of P pixels.
        durations_seconds: ``(N,)``.
    """
    first, second = _candidates(pictures, durations_seconds)
    roughly = _distances(_fewer(pictures), durations_seconds, first, second, NUM_OFFSETS // COARSE)
    first, second = (side[roughly <= MAX_COARSE_DISTANCE] for side in (first, second))
    distances = _distances(pictures, durations_seconds, first, second, NUM_OFFSETS)
    is_like = distances <= MAX_DISTANCE
    return Pairs(first[is_like], second[is_like], distances[is_like])


def motion_distances(
    longer: NDArray[np.uint8], shorter: NDArray[np.uint8], ratio: NDArray[np.float64], num_offsets: int = NUM_OFFSETS
) -> Floats:
    """How differently two videos move, at the offset in time where they agree best.

    One less the correlation of what remains of the pictures without their mean, over the time that both show.

    Args:
        longer: ``(N, T, P)``.
        shorter: ``(N, T, P)``.
        ratio: ``(N,)``, duration of the shorter by that of the longer.
        num_offsets: that are tried.

    Returns:
        ``(N,)``, 0 to 2.
    """
    num_times, num_pixels = longer.shape[1:]
    long, short = longer.astype(np.float32) - 128, shorter.astype(np.float32) - 128
    weights, is_shown = _interpolation(ratio, num_times, num_offsets)
    shown = is_shown.astype(np.float32)
    # Sums over pixels first: (N, 1, T, T). The rest is about times only.
    long_long, short_long, short_short = (
        (one @ other.transpose(0, 2, 1))[:, None] for one, other in ((long, long), (short, long), (short, short))
    )
    total = weights.sum(2, keepdims=True)
    shown_row = shown[:, :, None]
    num_shown = np.maximum(shown.sum(2), 1)

    def without_mean(sums: Floats, mean_sums: Floats) -> Floats:
        remaining: Floats = sums - mean_sums[:, :, 0, 0] / num_shown + NOISE * num_pixels * num_shown
        return remaining

    both = without_mean((weights * short_long).sum((2, 3)), shown_row @ short_long @ total.transpose(0, 1, 3, 2))
    of_long = without_mean(
        ((weights @ long_long) * weights).sum((2, 3)), total @ long_long @ total.transpose(0, 1, 3, 2)
    )
    own = np.diagonal(short_short, axis1=2, axis2=3)
    of_short = without_mean((shown * own).sum(2), shown_row @ short_short @ shown_row.transpose(0, 1, 3, 2))
    distances = 1 - both / np.sqrt(of_long * of_short)
    best: Floats = np.where(num_shown >= MIN_OVERLAP * num_times, distances, 2).min(1)
    return best.clip(0, 2)


def components(num: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(num,)``: for each of ``num`` things the least one that is joined to it, directly or through others.

    Args:
        num: of things.
        first: ``(P,)``, joined to ``second``.
        second: ``(P,)``.
    """
    roots = list(range(num))

    def root(thing: int) -> int:
        while roots[thing] != thing:
            roots[thing] = roots[roots[thing]]
            thing = roots[thing]
        return thing

    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(one), root(other)))
        roots[high] = low
    return np.array([root(thing) for thing in range(num)], np.int64)


def _fewer(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(N, T / COARSE, P)``: means of neighbouring pictures."""
    num_videos, num_times, num_pixels = pictures.shape
    means = np.empty((num_videos, num_times // COARSE, num_pixels), np.uint8)
    for start in range(0, num_videos, ROWS_AT_ONCE):
        some = pictures[start : start + ROWS_AT_ONCE]
        means[start : start + ROWS_AT_ONCE] = some.reshape(len(some), -1, COARSE, num_pixels).mean(2, dtype=np.float32)
    return means


def _distances(
    pictures: NDArray[np.uint8],
    durations_seconds: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    num_offsets: int,
) -> Floats:
    """``(P,)`` of P pairs, a few at once."""
    distances = np.empty(len(first), np.float32)
    for start in range(0, len(first), PAIRS_AT_ONCE):
        chosen = slice(start, start + PAIRS_AT_ONCE)
        # The longer one is the footage, the other perhaps a piece of it.
        is_longer = durations_seconds[first[chosen]] >= durations_seconds[second[chosen]]
        longer = np.where(is_longer, first[chosen], second[chosen])
        shorter = np.where(is_longer, second[chosen], first[chosen])
        ratio = durations_seconds[shorter] / durations_seconds[longer]
        distances[chosen] = motion_distances(pictures[longer], pictures[shorter], ratio, num_offsets)
    return distances


def _interpolation(ratio: NDArray[np.float64], num_times: int, num_offsets: int) -> tuple[Floats, NDArray[np.bool_]]:
    """What of the longer video is shown at the times of the shorter one, for some offsets between the two.

    Returns:
        ``(N, O, T, T)`` weights of the longer one's pictures for each time of the shorter one, and ``(N, O, T)``
        whether the longer one shows that time at all; where it does not, weights are 0.
    """
    slack = (1 - MIN_OVERLAP) * ratio
    steps = np.linspace(0, 1, num_offsets)
    offsets = -slack[:, None] + (1 - ratio + 2 * slack)[:, None] * steps
    times = (np.arange(num_times) + 0.5) / num_times
    places = (offsets[:, :, None] + times * ratio[:, None, None]) * num_times - 0.5
    is_shown = (places >= -0.5) & (places <= num_times - 0.5)
    places = places.clip(0, num_times - 1)[..., None]
    hats = np.maximum(0, 1 - np.abs(places - np.arange(num_times))) * is_shown[..., None]
    return hats.astype(np.float32), is_shown


def _candidates(
    pictures: NDArray[np.uint8], durations_seconds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that are worth a comparison."""
    num_videos = len(pictures)
    scenes, motions = _averages(pictures)
    found = [np.empty(0, np.int64)]
    for members in _cells(scenes):
        for start in range(0, len(members), ROWS_AT_ONCE):
            rows = members[start : start + ROWS_AT_ONCE]
            is_alike = (scenes[rows] @ scenes[members].T > MIN_SCENE) & (
                motions[rows] @ motions[members].T > MIN_MOTION
            )
            first, second = (side[index] for side, index in zip((rows, members), np.nonzero(is_alike), strict=True))
            shorter, longer = np.sort(durations_seconds[np.stack([first, second])], axis=0)
            is_pair = (first < second) & (shorter >= MIN_DURATION_RATIO * longer)
            found.append(first[is_pair] * num_videos + second[is_pair])
    pairs = np.unique(np.concatenate(found))
    return pairs // max(num_videos, 1), pairs % max(num_videos, 1)


def _averages(pictures: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """``(N, P)`` twice, at most of length 1: the structure of the mean picture, and how much each pixel changes."""
    scenes, motions = np.empty((2, len(pictures), pictures.shape[2]), np.float32)
    for start in range(0, len(pictures), ROWS_AT_ONCE):
        chosen = slice(start, start + ROWS_AT_ONCE)
        levels = pictures[chosen].astype(np.float32)
        scenes[chosen] = levels.mean(1)
        motions[chosen] = np.sqrt(levels.var(1) + NOISE)
    scenes -= scenes.mean(1, keepdims=True)
    scenes /= np.sqrt((scenes**2).sum(1, keepdims=True) + NOISE * scenes.shape[1])
    motions /= np.sqrt((motions**2).sum(1, keepdims=True))
    return scenes, motions


def _cells(scenes: Floats) -> Iterator[NDArray[np.int64]]:
    """Videos that may be alike, together: each in the cells of the few chosen videos that are nearest to it."""
    num_videos = len(scenes)
    if num_videos <= MAX_SINGLE_CELL:
        yield np.arange(num_videos)
        return
    centres = scenes[:: int(np.sqrt(num_videos))]
    nearest = np.empty((num_videos, CELLS_PER_VIDEO), np.int64)
    for start in range(0, num_videos, ROWS_AT_ONCE):
        chosen = slice(start, start + ROWS_AT_ONCE)
        nearest[chosen] = np.argpartition(-scenes[chosen] @ centres.T, CELLS_PER_VIDEO)[:, :CELLS_PER_VIDEO]
    cells = nearest.ravel()
    order = np.argsort(cells, kind="stable")
    ends = np.searchsorted(cells[order], np.arange(len(centres)), side="right")
    yield from np.split(order // CELLS_PER_VIDEO, ends[:-1])
