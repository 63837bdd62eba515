"""Views of what is no picture: skeletons, sound. They travel as floats, through the same pipeline as pictures.

A view reads one row of a plan into a clip of bytes, on any node and without torch; and says what the model sees of
such clips, on the model's device.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from kinoray.config.base import Config
from kinoray.video.sampling import AnySampling, check_stackable

if TYPE_CHECKING:
    from torch import Tensor

    from kinoray.data.rows import PlanRow

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Recording(Protocol):
    """What has frames, each at its time: those of a video, of skeletons, of a spectrogram."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def num_frames(self) -> int: ...

    @property
    def fps(self) -> float:
        """Average frames per second."""

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """``(num_frames,)``, when each frame begins."""


class FloatViews(NamedTuple):
    """The views of one recording.

    Attributes:
        values: float32 of ``FloatView.float_shape``.
        is_mirrored: whether all of them are, and the label becomes that of the mirrored recording.
    """

    values: Floats
    is_mirrored: bool = False


class FloatView(Config):
    """Base of views whose clips are floats."""

    sampling: AnySampling
    """Which frames of the recording."""

    @model_validator(mode="after")
    def _clips_can_be_stacked(self) -> Self:
        check_stackable(self.sampling)
        return self

    @abstractmethod
    def shape_of(self, num_clips: int, clip_len: int) -> tuple[int, ...]:
        """Of what ``views`` gives for so many clips of a recording: at least two axes, M views outermost."""

    @abstractmethod
    def views(self, row: PlanRow, name: str, rng: np.random.Generator | None) -> FloatViews:
        """As ``take``; ``rng`` draws what is random, None: nothing is."""

    @abstractmethod
    def float_shape(self) -> tuple[int, ...]:
        """``shape_of`` the clips that the sampling takes of a recording."""

    @abstractmethod
    def take(self, row: PlanRow, name: str) -> FloatViews:
        """Open the recording of a row and read what the row stands for.

        Args:
            row: planned; its seed decides all that is random.
            name: what messages call the recording.

        Raises:
            DataError: it cannot be read.
        """

    def shown(self, clips: Tensor) -> Tensor:
        """``(N, *float_shape)`` float32 -> what the model sees of it, ``(N, M, ...)``, on the same device."""
        return clips

    def model_shape(self) -> tuple[int, ...]:
        """``(M, ...)`` of what the model sees of one recording."""
        import torch

        return tuple(self.shown(torch.empty((1, *self.float_shape()), device="meta")).shape[1:])

    def model_clips(self, clips: Tensor) -> Tensor:
        """``(N, *clip_shape)`` uint8 -> what the model sees of it, ``(N, M, ...)`` float32, on the same device."""
        import torch

        return self.shown(clips.view(torch.float32))

    def clip_shape(self) -> tuple[int, ...]:
        """Of the clip in ``ClipRow``: the bytes of the floats."""
        *outer, last = self.float_shape()
        return *outer, last * np.dtype(np.float32).itemsize

    def blank(self, out: Bytes | None = None) -> Bytes:
        """The clip of a recording that cannot be read; see ``written`` for ``out``."""
        return self.written(np.zeros(self.float_shape(), np.float32), out)

    def written(self, values: Floats, out: Bytes | None) -> Bytes:
        """Floats as a clip; ``out`` is where to write it, of ``clip_shape`` and contiguous, None: a new array."""
        assert values.shape == self.float_shape()
        clip = np.empty(self.clip_shape(), np.uint8) if out is None else out
        clip.view(np.float32)[...] = values
        return clip
