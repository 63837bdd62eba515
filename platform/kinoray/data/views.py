"""What is cut out of a video: for training one random view, for evaluation fixed clips times fixed crops."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kinoray.config.base import Config
from kinoray.errors import DataError
from kinoray.transforms.boxes import crop_offsets, random_resized_box, short_side_size
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Frames
from kinoray.video.sampling import AnySampling

TIME_TOLERANCE_SECONDS = 0.001
"""Annotations round to milliseconds: 0.667 means the frame at 2/3 of a second."""

Side = Annotated[int, Field(ge=8, le=2048)]


class TrainView(Config):
    """One random view: a random clip, a random box of the picture resized to a square, perhaps mirrored."""

    sampling: AnySampling
    crop: Side
    """Side of the square that is trained on, in pixels."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Range of the box's share of the picture's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Range of the box's width / height."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a mirrored clip; labels follow ``data.flip_labels``."""

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "TrainView":
        for name, (low, high) in {"scale": self.scale, "ratio": self.ratio}.items():
            if not 0 < low <= high or (name == "scale" and high > 1):
                limit = "above 0 and up to 1" if name == "scale" else "above 0"
                raise ValueError(f"{name}, got [{low:g}, {high:g}]; it should be [low, high], both {limit}")
        return self

    def clip_shape(self) -> tuple[int, int, int, int, int]:
        """(M, T, H, W, C)."""
        return *sampling_shape(self.sampling), self.crop, self.crop, 3

    def read(self, reader: VideoReader, segment: range, clip_seed: int) -> tuple[NDArray[np.uint8], bool]:
        """Read the view that a seed stands for.

        Args:
            reader: the open video.
            segment: its display frames that belong to the row.
            clip_seed: decides everything that is random.

        Returns:
            The clip, ``(M, T, H, W, C)`` uint8, and whether it is mirrored.
        """
        rng = np.random.default_rng(clip_seed)
        mirrored = bool(rng.random() < self.flip)
        box = random_resized_box(reader.height, reader.width, self.scale, self.ratio, rng)
        indices = self.sampling.indices(len(segment), reader.fps, rng)
        frames = reader.read(segment.start + indices.ravel(), crop=box, size=(self.crop, self.crop))
        clip = _clips(frames, indices)
        return (np.ascontiguousarray(clip[:, :, :, ::-1]) if mirrored else clip), mirrored


class EvalView(Config):
    """Fixed views: the clips of a deterministic sampling times one or three crops of the resized picture."""

    sampling: AnySampling
    crop: Side
    """Side of the square that is scored, in pixels."""
    resize: Side | None = None
    """Short side of the picture before cropping; default: 8/7 of ``crop`` (256 for 224), ``crop`` with three crops."""
    num_crops: Literal[1, 3] = 1
    """1: the centre; 3: both ends and the centre of the longer side."""

    @model_validator(mode="after")
    def _crop_fits(self) -> "EvalView":
        if self.short_side() < self.crop:
            raise ValueError(f"resize, got {self.resize}; it should be at least crop ({self.crop})")
        return self

    def short_side(self) -> int:
        """Short side of the resized picture, in pixels."""
        if self.resize is not None:
            return self.resize
        return self.crop if self.num_crops == 3 else round(self.crop * 8 / 7)

    def clip_shape(self) -> tuple[int, int, int, int, int]:
        """(M, T, H, W, C)."""
        num_clips, clip_len = sampling_shape(self.sampling)
        return num_clips * self.num_crops, clip_len, self.crop, self.crop, 3

    def read(self, reader: VideoReader, segment: range, clip_seed: int) -> tuple[NDArray[np.uint8], bool]:
        """Read all views, clips outermost. Nothing is random and nothing is mirrored; see ``TrainView.read``."""
        del clip_seed
        indices = self.sampling.indices(len(segment), reader.fps, None)
        size = short_side_size(reader.height, reader.width, self.short_side())
        frames = reader.read(segment.start + indices.ravel(), size=size)
        clips = _clips(frames, indices)
        crops = [
            clips[:, :, top : top + self.crop, left : left + self.crop]
            for top, left in crop_offsets(*size, self.crop, self.num_crops)
        ]
        return np.stack(crops, axis=1).reshape(self.clip_shape()), False


View = TrainView | EvalView


def sampling_shape(sampling: AnySampling) -> tuple[int, int]:
    """(clips, frames of a clip) that a sampling yields for any video."""
    num_clips, clip_len = sampling.indices(1_000, 25.0, None).shape
    return num_clips, clip_len


def segment_frames(reader: VideoReader, start_seconds: float | None, end_seconds: float | None) -> range:
    """The display frames that appear in ``[start, end)``, at least the one that is shown at ``start``.

    Raises:
        DataError: the video is over before the segment starts.
    """
    if start_seconds is None and end_seconds is None:
        return range(reader.num_frames)
    start = -math.inf if start_seconds is None else start_seconds
    end = math.inf if end_seconds is None else end_seconds
    over_seconds = float(reader.pts_seconds[-1]) + 1 / reader.fps
    if start >= over_seconds:
        raise DataError(
            f"{reader.name}: a segment that starts at {start:g} seconds, got a video of {over_seconds:g}; "
            "correct start_seconds"
        )
    first, stop = np.searchsorted(reader.pts_seconds, [start - TIME_TOLERANCE_SECONDS, end - TIME_TOLERANCE_SECONDS])
    if stop <= first:
        first = max(int(first) - 1, 0)
    return range(int(first), max(int(stop), int(first) + 1))


def flip_indices(flip_labels: Mapping[str, str], classes: tuple[str, ...]) -> tuple[int, ...]:
    """Label -> label of the mirrored video; classes that are not named keep theirs."""
    return tuple(classes.index(flip_labels.get(name, name)) for name in classes)


def _clips(frames: Frames, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    return frames.data.reshape(*indices.shape, *frames.data.shape[1:])
