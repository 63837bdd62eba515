"""Which frames of a video to read: index arithmetic only, no files.

The functions take the number of frames and give indices ``(M, T)`` int64: M clips of T frames. With a generator they
draw as in training; with None they are deterministic, as in testing.

Source: the sampling that MMAction2 1.2.0 (4d6c934) calls SampleFrames; test-time indices are the same, training
offsets follow the same distribution.
"""

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.errors import DataError

Indices = NDArray[np.int64]
OutOfBound = Literal["loop", "repeat_last"]


def random_offsets(num_frames: int, span: int, num_clips: int, rng: np.random.Generator) -> Indices:
    """``(num_clips,)`` starts of clips that span ``span`` frames, one in each of ``num_clips`` equal intervals.

    Where the starts that fit are fewer than the clips they are drawn freely (several clips, long video), spread
    evenly, or all 0 (video shorter than a clip).
    """
    num_starts = num_frames - span + 1
    interval = num_starts // num_clips
    if interval > 0:
        return np.arange(num_clips) * interval + rng.integers(interval, size=num_clips)
    if num_frames > max(num_clips, span):
        return np.sort(rng.integers(num_starts, size=num_clips))
    if interval == 0:
        return np.around(np.arange(num_clips) * (num_starts / num_clips)).astype(np.int64)
    return np.zeros(num_clips, dtype=np.int64)


def spread_offsets(num_frames: int, span: int, num_clips: int, *, twice: bool = False) -> Indices:
    """``(num_clips,)`` starts of clips spread from the first to the last that fits; one clip is centred.

    ``twice`` goes on for as many clips again at the same step, past the end of the video.
    """
    last_start = max(num_frames - span, 0)
    if num_clips == 1:
        starts = np.array([last_start // 2])
        return np.repeat(starts, 2) if twice else starts
    count = 2 * num_clips if twice else num_clips
    return np.round(np.arange(count) * (last_start / (num_clips - 1))).astype(np.int64)


def centre_offsets(num_frames: int, num_segments: int, *, twice: bool = False) -> Indices:
    """``(num_segments,)`` middles of equal segments; ``twice`` adds the segments' first frames after them."""
    interval = num_frames / num_segments
    firsts = np.arange(num_segments) * interval
    middles = firsts + interval / 2.0
    return (np.concatenate([middles, firsts]) if twice else middles).astype(np.int64)


def clip_indices(
    starts: Indices, num_frames: int, *, clip_len: int, frame_interval: int, out_of_bound: OutOfBound
) -> Indices:
    """``(M,)`` starts -> ``(M, clip_len)``; past the end a clip starts over or repeats its last frame that exists."""
    indices: Indices = starts[:, None] + np.arange(clip_len) * frame_interval
    if out_of_bound == "loop":
        return indices % num_frames
    inside = indices < num_frames
    last = np.max(indices * inside, axis=1, keepdims=True)
    return np.where(inside, indices, last)


class SamplingConfig(KindConfig):
    """Base of all samplings."""

    @abstractmethod
    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:
        """``(M, T)`` frame indices.

        Args:
            num_frames: of the whole video.
            fps: average frames per second.
            rng: None for the deterministic sampling of tests.

        Raises:
            DataError: the video has no frames.
        """


class ClipSampling(SamplingConfig):
    """Clips of consecutive (or every n-th) frames."""

    kind: Literal["clips"] = "clips"
    clip_len: int = Field(gt=0, le=10_000)
    """T, frames of a clip."""
    frame_interval: int = Field(default=1, gt=0, le=10_000)
    """From one frame of a clip to the next, in frames of the video."""
    num_clips: int = Field(default=1, gt=0, le=1_000)
    """M, clips of a video."""
    out_of_bound: OutOfBound = "loop"
    """What a clip does past the end of the video: starts over at its beginning, or repeats its last frame."""
    twice: bool = False
    """In tests, take twice as many clips."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        _check_not_empty(num_frames)
        if rng is not None:
            starts = random_offsets(num_frames, self.clip_len * self.frame_interval, self.num_clips, rng)
        elif self.clip_len == 1:
            starts = centre_offsets(num_frames, self.num_clips, twice=self.twice)
        else:
            span = (self.clip_len - 1) * self.frame_interval + 1
            starts = spread_offsets(num_frames, span, self.num_clips, twice=self.twice)
        return clip_indices(
            starts,
            num_frames,
            clip_len=self.clip_len,
            frame_interval=self.frame_interval,
            out_of_bound=self.out_of_bound,
        )


class SegmentSampling(SamplingConfig):
    """One clip of single frames, one from each of equal segments of the video (TSN, TSM)."""

    kind: Literal["segments"] = "segments"
    num_segments: int = Field(gt=0, le=10_000)
    """T, segments of a video."""
    twice: bool = False
    """In tests, add a second clip: the first frames of the segments beside their middles."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        _check_not_empty(num_frames)
        if rng is not None:
            return random_offsets(num_frames, 1, self.num_segments, rng)[None] % num_frames
        picked = centre_offsets(num_frames, self.num_segments, twice=self.twice)
        return picked.reshape(-1, self.num_segments)


def _check_not_empty(num_frames: int) -> None:
    if num_frames < 1:
        raise DataError(f"sampling: a video to sample from, got one of {num_frames} frames; at least 1 is needed")


SAMPLINGS = KindTable(
    what="sampling",
    base=SamplingConfig,
    kinds={
        "clips": "kinoray.video.sampling:ClipSampling",
        "segments": "kinoray.video.sampling:SegmentSampling",
    },
    default="clips",
)
AnySampling = Annotated[SamplingConfig, SAMPLINGS]
