"""What reading a video takes and gives: boxes, shots, frames, planes."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = Literal["bt601", "bt709", "bt2020"]


class Box(NamedTuple):
    """A rectangle in pixels of the displayed picture, that is after rotation."""

    top: int
    left: int
    height: int
    width: int

    def widened(self, picture: tuple[int, int], grid: int = 2) -> "Box":
        """The smallest box around this one whose edges are multiples of ``grid``, or the picture's.

        Args:
            picture: its ``(height, width)``.
            grid: in pixels; 2 is a whole sample of chroma.
        """
        top, left = self.top // grid * grid, self.left // grid * grid
        bottom = min(-(-(self.top + self.height) // grid) * grid, picture[0])
        right = min(-(-(self.left + self.width) // grid) * grid, picture[1])
        return Box(top, left, bottom - top, right - left)


@dataclass(frozen=True)
class Shot:
    """What is wanted of a video: some of its frames, all cut and resized in the same way.

    Attributes:
        indices: ``(T,)`` display indices, in any order, also repeated.
        crop: what to cut out of every picture, None for all of it.
        size: ``(height, width)`` to resize the (cropped) pictures to, bilinear; None leaves them.
        mirror: whether to exchange left and right, last of all.
        out: where the pictures are written, uint8 and contiguous: ``(T, H, W, 3)``, or ``(T, B)`` for planes. Memory
            that was in use before costs a tenth of new memory. None: new memory.
    """

    indices: NDArray[np.int64]
    crop: Box | None = None
    size: tuple[int, int] | None = None
    mirror: bool = False
    out: NDArray[np.uint8] | None = None

    def place(self, picture: tuple[int, ...]) -> NDArray[np.uint8]:
        """Where the pictures go, whose shape is ``picture``.

        Raises:
            ValueError: ``out`` does not hold them.
        """
        shape = (len(self.indices), *picture)
        if self.out is None:
            return np.empty(shape, np.uint8)
        if self.out.shape != shape or self.out.dtype != np.uint8 or not self.out.flags.c_contiguous:
            kind = "contiguous" if self.out.flags.c_contiguous else "not contiguous"
            raise ValueError(
                f"Shot.out, got {self.out.dtype} {self.out.shape}, {kind}; contiguous uint8 {shape} is due"
            )
        return self.out


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


@dataclass(frozen=True)
class Planes:
    """Frames of one video as decoders give them: YUV 4:2:0, half the bytes of RGB.

    Attributes:
        data: ``(T, B)``: the rows of Y, then of U, then of V; B = H*W + 2 * ceil(H/2) * ceil(W/2).
        height: H of the luma plane, in pixels.
        width: W of the luma plane, in pixels.
        matrix: which YUV this is.
        is_full_range: whether black to white is 0..255 rather than 16..235.
        pts_seconds: ``(T,)``, when each frame is shown, from the start of the file.
    """

    data: NDArray[np.uint8]
    height: int
    width: int
    matrix: Matrix
    is_full_range: bool
    pts_seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.data)
