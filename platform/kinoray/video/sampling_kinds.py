"""Samplings beyond clips and segments: dense, uniform, stratified, sliding windows, around a moment.

Source: where a docstring names a transform, MMAction2 1.2.0 (4d6c934) gives the same indices.
"""

import math
from typing import Literal

import numpy as np
from pydantic import Field

from kinoray.errors import DataError
from kinoray.video.sampling import NumClips, NumFrames, SamplingConfig, check_not_empty
from kinoray.video.sampling_math import (
    TIME_TOLERANCE_SECONDS,
    Indices,
    LegacyDraws,
    OutOfBound,
    clamp,
    place_clips,
    spread_offsets,
    stratified_clip,
    window_offsets,
)


class DenseSampling(SamplingConfig):
    """Clips that start anywhere: at random in training, spread from the first start to the last in tests.

    Source: DenseSampleFrames; each of its ``num_sample_positions`` is a clip here.
    """

    kind: Literal["dense"] = "dense"
    clip_len: NumFrames
    """T, frames of a clip."""
    frame_interval: NumFrames = 1
    """From one frame of a clip to the next."""
    num_clips: NumClips = 1
    """M, clips of a video."""
    sample_range: NumFrames = 64
    """Frames that a start leaves until the end of the video, where it has as many."""
    out_of_bound: OutOfBound = "loop"
    """What a clip does past the end of the video: starts over at its beginning, or repeats its last frame."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        check_not_empty(num_frames)
        last_start = max(num_frames - self.sample_range, 0)
        if rng is None:
            starts = np.linspace(0, last_start, self.num_clips).astype(np.int64)
        elif last_start == 0:
            starts = np.zeros(self.num_clips, dtype=np.int64)
        else:
            # The last start itself is never drawn, as in the reference.
            starts = rng.integers(last_start, size=self.num_clips)
        steps = np.arange(self.clip_len) * self.frame_interval
        return place_clips(starts, steps, num_frames, self.out_of_bound)


class UniformSampling(SamplingConfig):
    """Clips over the whole video, one frame from each of T equal parts whose bounds are rounded to frames.

    In tests, the frames of several clips lie evenly inside the parts. Source: UniformSample.
    """

    kind: Literal["uniform"] = "uniform"
    clip_len: NumFrames
    """T, parts of the video."""
    num_clips: NumClips = 1
    """M, clips of a video."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        check_not_empty(num_frames)
        part = (num_frames - 1) / self.clip_len
        bounds = np.round(part * np.arange(self.clip_len + 1)).astype(np.int64)
        if rng is not None:
            return rng.integers(bounds[:-1], bounds[1:] + 1, size=(self.num_clips, self.clip_len))
        shifts = (part / (self.num_clips + 1) * np.arange(1, self.num_clips + 1)).astype(np.int64)
        return shifts[:, None] + bounds[:-1]


class StratifiedSampling(SamplingConfig):
    """Clips over the whole video, one random frame from each of T equal strata, in tests as well.

    A video of fewer than T frames is read from a start (random in training, spread in tests) on, over and over.

    Source: UniformSampleFrames (PoseC3D).
    """

    kind: Literal["stratified"] = "stratified"
    clip_len: NumFrames
    """T, strata of the video."""
    num_clips: NumClips = 1
    """M, clips of a video."""
    test_seed: int = Field(default=255, ge=0, lt=2**32)
    """What decides the frames in tests; the default is the reference's, so that scores can be compared."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        check_not_empty(num_frames)
        if num_frames < self.clip_len:
            starts = self._short_starts(num_frames) if rng is None else rng.integers(num_frames, size=self.num_clips)
            return place_clips(starts, np.arange(self.clip_len), num_frames, "loop")
        draws = LegacyDraws(self.test_seed) if rng is None else rng
        return np.stack([stratified_clip(num_frames, self.clip_len, draws) for _ in range(self.num_clips)])

    def _short_starts(self, num_frames: int) -> Indices:
        clips = np.arange(self.num_clips)
        return clips if num_frames < self.num_clips else clips * num_frames // self.num_clips


class WindowSampling(SamplingConfig):
    """Sliding windows over the whole video, to score it along its time: M depends on the video. Nothing is random.

    A video shorter than a window has one; what it lacks repeats its last frame.
    """

    num_clips_varies = True

    kind: Literal["windows"] = "windows"
    clip_len: NumFrames
    """T, frames of a window."""
    frame_interval: NumFrames = 1
    """From one frame of a window to the next."""
    stride: NumFrames | None = None
    """From one window to the next; default: the frames that a window spans, so that windows do not overlap."""
    edges: Literal["inside", "repeat"] = "inside"
    """``inside``: the first window starts with the video, and the last is moved back to end with it.

    ``repeat``: windows are centred in strides of the video, and reach past its ends by repeating its first and last
    frame, as UntrimmedSampleFrames does (which fails on a video without a centre; here it has one window).
    """
    max_clips: int = Field(default=1_000, gt=0, le=100_000)
    """Of a video with more windows than this, as many are taken, spread evenly."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        check_not_empty(num_frames)
        span = (self.clip_len - 1) * self.frame_interval + 1
        stride = self.stride or span
        if self.edges == "inside":
            starts = window_offsets(num_frames, span, stride)
        else:
            first_centre = stride // 2 if stride // 2 < num_frames else num_frames // 2
            starts = np.arange(first_centre, num_frames, stride) - self.clip_len // 2 * self.frame_interval
        if len(starts) > self.max_clips:
            starts = starts[spread_offsets(len(starts), 1, self.max_clips)]
        steps = np.arange(self.clip_len) * self.frame_interval
        return clamp(starts[:, None] + steps, num_frames)


class MomentSampling(SamplingConfig):
    """One clip around a moment; what it lacks at the ends repeats the first or the last frame.

    Source: SampleAVAFrames in tests; in training every frame moves by up to half of ``frame_interval``.
    """

    kind: Literal["moment"] = "moment"
    clip_len: NumFrames
    """T, frames of the clip."""
    frame_interval: NumFrames = 2
    """From one frame of the clip to the next."""
    at_seconds: float | None = Field(default=None, ge=0)
    """The moment, from the start of what is sampled; default: its middle."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:
        check_not_empty(num_frames)
        start = self._centre(num_frames, fps) - self.clip_len // 2 * self.frame_interval
        indices = start + np.arange(self.clip_len) * self.frame_interval
        if rng is not None:
            half, rest = self.frame_interval // 2, (self.frame_interval + 1) // 2
            indices += rng.integers(-half, rest, size=self.clip_len)
        return clamp(indices[None], num_frames)

    def shape(self, *, is_training: bool) -> tuple[int, int]:  # noqa: ARG002
        return 1, self.clip_len  # whatever the moment, which a video made up to measure may not reach

    def _centre(self, num_frames: int, fps: float) -> int:
        if self.at_seconds is None:
            return num_frames // 2
        centre = math.floor((self.at_seconds + TIME_TOLERANCE_SECONDS) * fps)
        if centre >= num_frames:
            raise DataError(
                f"sampling: a moment of the video, got at_seconds {self.at_seconds:g}; it lasts {num_frames / fps:g}"
            )
        return centre
