"""Which part of stored planes a view shows; numbers only, since it is decided where videos are decoded."""

from typing import NamedTuple


class Axis(NamedTuple):
    """How pictures are resized and cut along one axis. All in pixels of luma.

    Attributes:
        stored: pixels that there are; 0 where a video could not be read.
        start: where what is resized begins. Below 0, its first pixels are not stored, as none of them is needed.
        length: of what is resized.
        resized: length that it is resized to.
        first: the first of the resized pixels that is shown.
    """

    stored: int
    start: int
    length: int
    resized: int
    first: int


class Window(NamedTuple):
    """A square of resized pictures.

    Attributes:
        side: of the square, in pixels.
        mirror: whether to exchange left and right, last of all.
    """

    rows: Axis
    columns: Axis
    side: int
    mirror: bool

    @property
    def frame_bytes(self) -> int:
        """Of the stored planes of one frame."""
        return plane_bytes(self.rows.stored, self.columns.stored)


class PackedView(NamedTuple):
    """A view of a packed row.

    Attributes:
        start: the byte of the row at which the planes of its first frame begin.
        num_frames: T; their planes lie one after the other.
        window: what of each frame is shown.
    """

    start: int
    num_frames: int
    window: Window


def plane_bytes(height: int, width: int) -> int:
    """Of one picture in YUV 4:2:0."""
    return height * width + 2 * -(-height // 2) * -(-width // 2)
