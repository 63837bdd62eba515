"""What views need of a video, whatever its frames are read from."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinoray.video.frames import Box, Frames, Planes, Shot


class Video(Protocol):
    """An open video whose frames are read by display index: a ``VideoReader``, a ``FrameFolder``."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def num_frames(self) -> int: ...

    @property
    def fps(self) -> float:
        """Average frames per second."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def duration_seconds(self) -> float:
        """Of all frames."""

    @property
    def codec(self) -> str:
        """FFmpeg's name ("h264")."""

    @property
    def num_bytes(self) -> int:
        """Of the file, or of all pictures."""

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """``(num_frames,)``, when each frame is shown."""

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """Display indices, ascending, of the frames that can be decoded alone."""

    def frames_at(self, seconds: ArrayLike) -> NDArray[np.int64]:
        """Display indices of the frames that are shown at these times; before the first and after the last, those."""

    def read(
        self, indices: ArrayLike, *, crop: Box | None = None, size: tuple[int, int] | None = None, mirror: bool = False
    ) -> Frames:
        """Read one shot, see ``Shot``."""

    def read_shots(self, shots: Sequence[Shot]) -> list[Frames]:
        """Read several shots, decoding each frame once."""

    def read_planes(self, shots: Sequence[Shot]) -> list[Planes]:
        """The same as YUV planes."""

    def close(self) -> None:
        """Let go of what is open."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
