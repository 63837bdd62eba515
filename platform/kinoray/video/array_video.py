"""Frames that are in memory, as a video."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from av import VideoFrame

from kinoray.errors import DataError
from kinoray.video.frame_reader import FrameReader
from kinoray.video.limits import Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kinoray.video.shots import Album

_LIMITS = Limits()


class ArrayVideo(FrameReader):
    """Reads frames, by display index, from an array.

    Args:
        frames: ``(T, H, W, 3)`` uint8, RGB; not copied.
        fps: frames per second that they were taken at.
        name: what messages call the video.
        limits: what it may cost.

    Raises:
        DataError: the array is another, or ``fps`` is none.
    """

    def __init__(
        self,
        frames: NDArray[np.uint8],
        *,
        fps: float = 30.0,
        name: str = "frames in memory",
        limits: Limits = _LIMITS,
    ) -> None:
        super().__init__(name, 0.0, limits)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise DataError(f"{name}: got {frames.dtype} {frames.shape}; it should be uint8 (T, H, W, 3), RGB")
        if not 0 < fps < math.inf:
            raise DataError(f"{name}: frames per second, got {fps:g}; it should be above 0")
        self._frames = frames
        self.fps = fps
        self.num_frames, self.height, self.width = frames.shape[:3]
        self.num_bytes = frames.nbytes
        self.codec = ""
        self.duration_seconds = self.num_frames / fps
        self.pts_seconds: NDArray[np.float64] = np.arange(self.num_frames) / fps
        self.keyframes: NDArray[np.int64] = np.arange(self.num_frames)

    def close(self) -> None:
        """Nothing is open."""

    def _give(self, album: Album) -> None:
        for index in sorted(album.due):
            self._deadline.check()
            album.take(index, VideoFrame.from_ndarray(self._frames[index], "rgb24"))

    def _trouble(self, first: int) -> str:
        return f"did not come, the first is {first}"
