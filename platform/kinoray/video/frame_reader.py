"""What every reader of frames does alike: check what is asked for, cut and convert it, fill what did not come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import numpy as np

from kinoray.errors import DecodeError
from kinoray.video.frames import Box, Frames, Planes, Shot
from kinoray.video.limits import Deadline
from kinoray.video.shots import Album

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from kinoray.video.limits import Limits

# Containers round times to milliseconds: a frame is shown from half of one before its time on.
_ROUNDING_SECONDS = 0.0005


class FrameReader(ABC):
    """Reads frames of one video by display index, wherever they come from.

    Args:
        name: what messages call the video.
        max_missing: largest fraction of a shot's frames that may be undecodable; those are filled with the nearest
            frame that came.
        limits: what the video may cost.

    Attributes:
        num_frames: exact.
        fps: average frames per second.
        width: pixels of the displayed picture.
        height: pixels of the displayed picture.
        duration_seconds: of all frames.
        pts_seconds: ``(num_frames,)``, when each frame is shown, from the start of the video.
        codec: FFmpeg's name ("h264").
        num_bytes: of all that holds the video.
        num_filled: frames that the last reading had to fill.
    """

    num_frames: int
    fps: float
    width: int
    height: int
    duration_seconds: float
    pts_seconds: NDArray[np.float64]
    codec: str
    num_bytes: int

    def __init__(self, name: str, max_missing: float, limits: Limits) -> None:
        self.name = name
        self.num_filled = 0
        self._max_missing = max_missing
        self._limits = limits
        self._deadline = Deadline(name, limits.seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open."""

    @abstractmethod
    def _give(self, album: Album) -> None:
        """Put into the album the frames that are due and can be decoded."""

    @abstractmethod
    def _trouble(self, first: int) -> str:
        """What is wrong with frames that did not come, ``first`` being the first of them."""

    def frames_at(self, seconds: ArrayLike) -> NDArray[np.int64]:
        """Display indices of the frames that are shown at some times, the first or the last outside of the video.

        Args:
            seconds: from the start of the video, any shape.
        """
        times = np.asarray(seconds, np.float64) + _ROUNDING_SECONDS
        after: NDArray[np.int64] = np.searchsorted(self.pts_seconds, times, side="right")
        return np.clip(after - 1, 0, self.num_frames - 1)

    def read(
        self, indices: ArrayLike, *, crop: Box | None = None, size: tuple[int, int] | None = None, mirror: bool = False
    ) -> Frames:
        """Decode frames; see ``Shot`` for the arguments, and ``read_shots``."""
        return self.read_shots([Shot(np.asarray(indices, np.int64).reshape(-1), crop, size, mirror)])[0]

    def read_shots(self, shots: Sequence[Shot]) -> list[Frames]:
        """Decode the frames of several shots, each frame once.

        Raises:
            IndexError: an index is not one of the video's.
            ValueError: a crop leaves the picture.
            DecodeError: reason ``damaged``, more than ``max_missing`` of a shot's frames are missing or cannot be
                decoded, or the pictures would be larger than the limits allow; ``slow``; ``index``, what was given as
                the video's index is another's; those of ``open_video_file``.
        """
        album = self._gather(shots, planes=False)
        return [Frames(data, self.pts_seconds[shot.indices]) for shot, data in zip(shots, album.data, strict=True)]

    def read_planes(self, shots: Sequence[Shot]) -> list[Planes]:
        """Decode the frames of several shots as YUV planes; like ``read_shots`` otherwise.

        Without a size, planes are native: the box is widened to whole samples of chroma.
        """
        album = self._gather(shots, planes=True)
        return [
            Planes(
                data,
                height=converter.height,
                width=converter.width,
                matrix=converter.matrix,
                is_full_range=converter.is_full_range,
                pts_seconds=self.pts_seconds[shot.indices],
            )
            for shot, data, converter in zip(shots, album.data, album.converters, strict=True)
        ]

    def _gather(self, shots: Sequence[Shot], *, planes: bool) -> Album:
        """Fill the pictures of some shots."""
        self._deadline.restart()
        for shot in shots:
            self._check(shot)
        album = Album(shots, (self.height, self.width), planes=planes)
        self._give(album)
        self.num_filled = len(album.due)
        if album.due:
            num_missing, num_wanted = album.most_missing()
            if num_missing > self._max_missing * num_wanted or num_missing == num_wanted:
                raise DecodeError(
                    f"{self.name}: {num_missing} of {num_wanted} frames {self._trouble(min(album.due))}; "
                    f"at most {self._max_missing:.0%} may be filled with their neighbours",
                    "damaged",
                )
            album.fill()
        return album

    def _check(self, shot: Shot) -> None:
        outside = shot.indices[(shot.indices < 0) | (shot.indices >= self.num_frames)]
        if outside.size:
            raise IndexError(
                f"{self.name}: frame index, got {outside[0]}; the video has {self.num_frames} frames, "
                f"0 to {self.num_frames - 1}"
            )
        top, left, height, width = shot.crop or Box(0, 0, self.height, self.width)
        if min(top, left, height - 1, width - 1) < 0 or top + height > self.height or left + width > self.width:
            raise ValueError(f"{self.name}: crop, got {shot.crop}; it lies within {self.height} x {self.width} pixels")
        height, width = shot.size or (height, width)
        if height * width > self._limits.num_pixels:  # a line of a picture, resized by its short side, can be endless
            raise DecodeError(
                f"{self.name}: pictures of {height} x {width} pixels, got a limit of {self._limits.num_pixels}; "
                f"the video has {self.height} x {self.width}",
                "damaged",
            )
