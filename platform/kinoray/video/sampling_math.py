"""Index arithmetic of sampling: where clips start, which frames they take, and which frame is shown when.

M clips of T frames; every index is int64 and counts from the first frame of what is sampled. Functions that take a
generator draw as in training.

Source: where a docstring names a transform, MMAction2 1.2.0 (4d6c934) gives the same indices.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinoray.errors import DataError

Indices = NDArray[np.int64]
OutOfBound = Literal["loop", "repeat_last"]

TIME_TOLERANCE_SECONDS = 0.001
"""Files and annotations round to milliseconds: a frame that is due at 0.6667 seconds is shown at 0.667."""

MAX_TICKS = 10_000_000
"""Of a timeline, four days at 30 per second: damaged files have frames that are shown in a thousand years."""


def spread(num_frames: int, max_frames: int) -> Indices:
    """Places of at most so many frames, first and last among them."""
    return np.linspace(0, num_frames - 1, min(num_frames, max_frames)).round().astype(np.int64)


class LegacyDraws:
    """NumPy's legacy stream of random numbers, under the names that a Generator has for the same draws.

    The stream is frozen for good, and it is the one that MMAction2 draws from.
    """

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)

    def integers(self, low: ArrayLike, high: ArrayLike | None = None, size: int | None = None) -> Indices:
        return np.asarray(self.state.randint(low, high, size), dtype=np.int64)  # type: ignore[arg-type]

    def choice(self, a: int, size: int, *, replace: bool) -> Indices:
        return np.asarray(self.state.choice(a, size, replace=replace), dtype=np.int64)


Draws = np.random.Generator | LegacyDraws


def random_offsets(num_frames: int, span: float, num_clips: int, rng: np.random.Generator) -> Indices:
    """``(num_clips,)`` starts of clips that span ``span`` frames, one in each of ``num_clips`` equal intervals.

    Where the starts that fit are fewer than the clips they are drawn freely (several clips, long video), spread
    evenly, or all 0 (video shorter than a clip). Source: SampleFrames.
    """
    num_starts = num_frames - span + 1
    interval = int(num_starts // num_clips)
    if interval > 0:
        return np.arange(num_clips) * interval + rng.integers(interval, size=num_clips)
    if num_frames > max(num_clips, span):
        return np.sort(rng.integers(int(num_starts), size=num_clips))
    if interval == 0:
        return np.around(np.arange(num_clips) * (num_starts / num_clips)).astype(np.int64)
    return np.zeros(num_clips, dtype=np.int64)


def random_offsets_to_the_end(num_frames: int, span: float, num_clips: int, rng: np.random.Generator) -> Indices:
    """``random_offsets`` with intervals that are not cut to whole frames, so that the last start can be drawn too.

    Source: SampleFrames with ``keep_tail_frames``.
    """
    interval = (num_frames - span + 1) / num_clips
    if interval <= 0:
        return np.zeros(num_clips, dtype=np.int64)
    return (np.arange(num_clips) * interval + rng.uniform(0, interval, size=num_clips)).astype(np.int64)


def spread_offsets(
    num_frames: int, span: float, num_clips: int, *, twice: bool = False, whole_steps: bool = False
) -> Indices:
    """``(num_clips,)`` starts of clips spread from the first to the last that fits; one clip is centred.

    ``twice`` goes on for as many clips again at the same step, past the end of the video. ``whole_steps`` cuts the step
    to whole frames, so that the last clip ends before the video does. Source: SampleFrames in tests, where the latter
    comes with ``target_fps``.
    """
    last_start = max(num_frames - span, 0)
    if num_clips == 1:
        starts = np.array([last_start // 2], dtype=np.int64)
        return np.repeat(starts, 2) if twice else starts
    count = 2 * num_clips if twice else num_clips
    step = last_start / (num_clips - 1)
    return np.round(np.arange(count) * (step // 1 if whole_steps else step)).astype(np.int64)


def centre_offsets(num_frames: int, num_segments: int, *, twice: bool = False) -> Indices:
    """``(num_segments,)`` middles of equal segments; ``twice`` adds the segments' first frames after them.

    Source: SampleFrames in tests, clips of one frame.
    """
    interval = num_frames / num_segments
    firsts = np.arange(num_segments) * interval
    middles = firsts + interval / 2.0
    return (np.concatenate([middles, firsts]) if twice else middles).astype(np.int64)


def window_offsets(num_frames: int, span: int, stride: int) -> Indices:
    """``(M,)`` starts of windows every ``stride`` frames; the last is moved back to end with the video.

    A video shorter than a window has one, at 0.
    """
    last_start = max(num_frames - span, 0)
    starts = np.arange(0, last_start + 1, stride)
    return starts if starts[-1] == last_start else np.append(starts, last_start)


def place_clips(starts: Indices, steps: Indices, num_frames: int, out_of_bound: OutOfBound) -> Indices:
    """``(M,)`` starts and ``(T,)`` or ``(M, T)`` steps from them -> ``(M, T)`` indices that exist.

    Past the end a clip starts over at frame 0 or repeats its own last frame that exists (frame 0 where none does).
    """
    indices: Indices = starts[:, None] + steps
    if out_of_bound == "loop":
        return indices % num_frames
    inside = indices < num_frames
    last = np.max(indices * inside, axis=1, keepdims=True)
    return np.where(inside, indices, last)


def clamp(indices: Indices, num_frames: int) -> Indices:
    """Indices that exist: before the first frame the first, past the last the last."""
    return np.minimum(np.maximum(indices, 0), num_frames - 1)


def stratified_clip(num_frames: int, clip_len: int, draws: Draws) -> Indices:
    """``(clip_len,)`` rising indices, one drawn from each of ``clip_len`` equal strata.

    Strata of less than two frames are no choice: there, the frames to leave out are drawn instead. Needs ``num_frames``
    >= ``clip_len``. Source: UniformSampleFrames.
    """
    if num_frames < 2 * clip_len:
        has_gap_before = np.zeros(clip_len + 1, dtype=np.int64)
        has_gap_before[draws.choice(clip_len + 1, num_frames - clip_len, replace=False)] = 1
        return np.arange(clip_len) + np.cumsum(has_gap_before)[:-1]
    bounds = np.arange(clip_len + 1) * num_frames // clip_len
    return bounds[:-1] + draws.integers(np.diff(bounds))


def timeline_indices(pts_seconds: NDArray[np.float64], fps: float, target_fps: float) -> Indices:
    """``(num_ticks,)``: for each tick of an even timeline, the frame that is shown then.

    The timeline starts with the first frame and ends with the last one, which is taken to last ``1 / fps``. At a
    constant frame rate and ``target_fps`` = ``fps`` the result is 0, 1, 2, ...

    Args:
        pts_seconds: ``(num_frames,)`` rising; when each frame is shown.
        fps: average frames per second.
        target_fps: ticks per second.

    Raises:
        DataError: it would have more than ``MAX_TICKS``.
    """
    duration_seconds = float(pts_seconds[-1] - pts_seconds[0]) + 1 / fps
    num_ticks = max(round(duration_seconds * target_fps), 1)
    if num_ticks > MAX_TICKS:
        raise DataError(
            f"sampling: a timeline of at most {MAX_TICKS} ticks, got {duration_seconds:.6g} seconds at "
            f"{target_fps:g} per second; sample such a video per: frames"
        )
    seconds = pts_seconds[0] + np.arange(num_ticks) / target_fps
    shown: Indices = np.searchsorted(pts_seconds, seconds + TIME_TOLERANCE_SECONDS, side="right") - 1
    return shown


def nearest_keyframes(indices: Indices, keyframes: Indices, num_frames: int) -> Indices:
    """Replace each index by the nearest keyframe among the ``num_frames`` (the earlier of two).

    Without a keyframe among them the indices stay: another scene would be no approximation.

    Args:
        indices: any shape.
        keyframes: ``(K,)`` rising; those outside ``[0, num_frames)`` are not considered.
        num_frames: of what is sampled.
    """
    keys = keyframes[(keyframes >= 0) & (keyframes < num_frames)]
    if keys.size == 0:
        return indices
    after = np.searchsorted(keys, indices)
    earlier = keys[np.maximum(after - 1, 0)]
    later = keys[np.minimum(after, keys.size - 1)]
    return np.where(np.abs(indices - earlier) <= np.abs(later - indices), earlier, later)
