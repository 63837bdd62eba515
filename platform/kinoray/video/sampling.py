"""Which frames of a video to read: what all samplings share, and the two that most recipes use.

A sampling gives indices ``(M, T)`` int64: M clips of T frames. With a generator it draws as in training; with None it
is deterministic, as in testing. No files are touched. The arithmetic is in ``sampling_math``, more kinds in
``sampling_kinds``; docs/sampling.md helps to choose.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.errors import ConfigError, DataError
from kinoray.video.sampling_math import (
    Indices,
    OutOfBound,
    centre_offsets,
    nearest_keyframes,
    place_clips,
    random_offsets,
    random_offsets_to_the_end,
    spread_offsets,
    timeline_indices,
)

NumFrames = Annotated[int, Field(gt=0, le=10_000)]
NumClips = Annotated[int, Field(gt=0, le=1_000)]


class SamplingConfig(KindConfig):
    """Base of all samplings.

    A kind implements ``indices``; whoever reads a video calls ``pick``. With a field of a kind's own, "frame" means
    tick of the timeline where ``per`` is ``seconds``.
    """

    stretches_frames: ClassVar[bool] = False
    """Whether ``indices`` itself heeds ``target_fps`` where ``per`` is ``frames``."""
    num_clips_varies: ClassVar[bool] = False
    """Whether M depends on the video, so that its clips cannot be stacked with those of others."""

    per: Literal["frames", "seconds"] = "frames"
    """What is counted: frames as they are stored, or ticks of an even timeline (for variable frame rates)."""
    target_fps: float | None = Field(default=None, gt=0, le=1_000)
    """With ``per: seconds``, ticks per second; default: the video's average frames per second."""
    at_keyframes: bool = False
    """Take the nearest keyframe instead of each frame: up to 40 times faster, and only roughly the frame meant."""

    @model_validator(mode="after")
    def _target_fps_is_heeded(self) -> Self:
        if self.target_fps is not None and self.per == "frames" and not self.stretches_frames:
            raise ValueError(
                f"target_fps, got {self.target_fps:g} with per: frames; kind '{self.kind}' needs per: seconds for it"
            )
        return self

    @abstractmethod
    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:
        """``(M, T)`` indices, each in ``[0, num_frames)``.

        Args:
            num_frames: frames, or ticks of the timeline, of what is sampled: a video or a segment of it.
            fps: average frames, or ticks, per second.
            rng: None for the deterministic sampling of tests.

        Raises:
            DataError: there are no frames, or none where the sampling looks for them.
        """

    def pick(
        self,
        pts_seconds: NDArray[np.float64],
        fps: float,
        rng: np.random.Generator | None,
        keyframes: NDArray[np.int64] | None = None,
    ) -> Indices:
        """``(M, T)`` display indices, counted from the first frame of what is sampled.

        Args:
            pts_seconds: ``(num_frames,)`` when each frame of what is sampled is shown.
            fps: average frames per second.
            rng: None for the deterministic sampling of tests.
            keyframes: rising display indices, counted like the result; needed with ``at_keyframes``. Those of the rest
                of the video (below 0, from num_frames on) may be among them.

        Raises:
            DataError: as ``indices``; or ``at_keyframes`` was asked for without keyframes.
        """
        num_frames = len(pts_seconds)
        check_not_empty(num_frames)
        if self.per == "frames":
            picked = self.indices(num_frames, fps, rng)
        else:
            target_fps = self.target_fps or fps
            timeline = timeline_indices(pts_seconds, fps, target_fps)
            picked = timeline[self.indices(len(timeline), target_fps, rng)]
        if not self.at_keyframes:
            return picked
        if keyframes is None:
            raise DataError("sampling: at_keyframes, got a video whose keyframes are unknown; set at_keyframes: false")
        return nearest_keyframes(picked, keyframes, num_frames)

    def shape(self, *, is_training: bool) -> tuple[int, int]:
        """(M, T) of every video.

        Raises:
            ConfigError: M depends on the video.
        """
        if self.num_clips_varies:
            raise ConfigError(
                f"sampling: a kind with a fixed number of clips, got '{self.kind}'; "
                "to train and to evaluate, 'clips' with num_clips spreads as many over every video"
            )
        num_clips, clip_len = self.indices(1_000, 25.0, np.random.default_rng(0) if is_training else None).shape
        return num_clips, clip_len


class ClipSampling(SamplingConfig):
    """Clips of consecutive (or every n-th) frames.

    ``target_fps`` with ``per: frames`` stretches a clip evenly over as many stored frames as ``clip_len *
    frame_interval`` frames at that rate last.

    Source: SampleFrames of MMAction2 1.2.0 (4d6c934).
    """

    stretches_frames = True

    kind: Literal["clips"] = "clips"
    clip_len: NumFrames
    """T, frames of a clip."""
    frame_interval: NumFrames = 1
    """From one frame of a clip to the next."""
    max_frame_interval: NumFrames | None = None
    """In training, draw the interval from ``frame_interval`` to this, both included; one for all clips of a view."""
    num_clips: NumClips = 1
    """M, clips of a video."""
    out_of_bound: OutOfBound = "loop"
    """What a clip does past the end of the video: starts over at its beginning, or repeats its last frame."""
    twice: bool = False
    """In tests, take twice as many clips."""
    jitter: bool = False
    """In training, move every frame by a random part of the interval."""
    keep_tail: bool = False
    """In training, let the last clip reach the end of the video where the clips' intervals are no whole frames."""

    @model_validator(mode="after")
    def _intervals_are_ordered(self) -> Self:
        if self.max_frame_interval is not None and self.max_frame_interval < self.frame_interval:
            raise ValueError(
                f"max_frame_interval, got {self.max_frame_interval}; it should be at least frame_interval "
                f"({self.frame_interval})"
            )
        return self

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:
        check_not_empty(num_frames)
        stretch = fps / self.target_fps if self.target_fps is not None and self.per == "frames" else None
        interval = self.frame_interval
        if rng is not None and self.max_frame_interval is not None:
            interval = int(rng.integers(interval, self.max_frame_interval + 1))
        steps, span = self._steps(interval, stretch, is_training=rng is not None)
        if rng is not None:
            draw = random_offsets_to_the_end if self.keep_tail else random_offsets
            starts = draw(num_frames, span, self.num_clips, rng)
            if self.jitter:
                steps = steps + rng.integers(interval, size=(self.num_clips, self.clip_len))
        elif self.clip_len == 1:
            starts = centre_offsets(num_frames, self.num_clips, twice=self.twice)
        else:
            whole_steps = stretch is not None
            starts = spread_offsets(num_frames, span, self.num_clips, twice=self.twice, whole_steps=whole_steps)
        return place_clips(starts, steps, num_frames, self.out_of_bound)

    def _steps(self, interval: int, stretch: float | None, *, is_training: bool) -> tuple[Indices, float]:
        """``(T,)`` steps from a clip's start to its frames, and the frames that its start has to leave for it.

        Args:
            interval: from one frame of a clip to the next.
            stretch: stored frames for each of the clip's; None to take frames exactly ``interval`` apart.
            is_training: the reference leaves room after a clip's last frame in training, and none in tests.
        """
        num_frames = self.clip_len * interval
        if stretch is not None:
            span = max(num_frames * stretch, 1.0)
            return np.linspace(0, span - 1, self.clip_len).astype(np.int64), span
        steps = np.arange(self.clip_len) * interval
        return steps, num_frames if is_training else num_frames - interval + 1


class SegmentSampling(SamplingConfig):
    """One clip of single frames, one from each of equal segments of the video (TSN, TSM).

    Source: SampleFrames of MMAction2 1.2.0 (4d6c934) with clips of one frame, which it stacks as we do a clip's.
    """

    kind: Literal["segments"] = "segments"
    num_segments: NumFrames
    """T, segments of a video."""
    twice: bool = False
    """In tests, add a second clip: the first frames of the segments beside their middles."""

    def indices(self, num_frames: int, fps: float, rng: np.random.Generator | None) -> Indices:  # noqa: ARG002
        check_not_empty(num_frames)
        if rng is not None:
            return random_offsets(num_frames, 1, self.num_segments, rng)[None] % num_frames
        picked = centre_offsets(num_frames, self.num_segments, twice=self.twice)
        return picked.reshape(-1, self.num_segments)


def check_not_empty(num_frames: int) -> None:
    """Raise a DataError where there is nothing to sample from."""
    if num_frames < 1:
        raise DataError(f"sampling: a video to sample from, got one of {num_frames} frames; at least 1 is needed")


SAMPLINGS = KindTable(
    what="sampling",
    base=SamplingConfig,
    kinds={
        "clips": "kinoray.video.sampling:ClipSampling",
        "segments": "kinoray.video.sampling:SegmentSampling",
        "dense": "kinoray.video.sampling_kinds:DenseSampling",
        "uniform": "kinoray.video.sampling_kinds:UniformSampling",
        "stratified": "kinoray.video.sampling_kinds:StratifiedSampling",
        "windows": "kinoray.video.sampling_kinds:WindowSampling",
        "moment": "kinoray.video.sampling_kinds:MomentSampling",
    },
    default="clips",
)
AnySampling = Annotated[SamplingConfig, SAMPLINGS]


def check_stackable(sampling: AnySampling) -> None:
    """Raise a ValueError, as validators do, where the number of clips depends on the video."""
    if sampling.num_clips_varies:
        raise ValueError(
            f"sampling, got kind '{sampling.kind}', whose number of clips depends on the video; "
            "use one with a fixed number, such as 'clips'"
        )
