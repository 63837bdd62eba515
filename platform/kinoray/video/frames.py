"""What reading a video gives, and how a part of its picture is named."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle in pixels of the displayed picture, that is after rotation."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Frames:
    """Frames of one video.

    Attributes:
        data: ``(T, H, W, C)``, RGB.
        pts_seconds: ``(T,)``, when each frame is shown, from the start of the file.
    """

    data: NDArray[np.uint8]
    pts_seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.data)
