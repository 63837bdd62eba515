"""Views that travel as planes of the video's own size, packed into one row of bytes.

Where the planes would be more than twice those of the result, they are scaled while decoding: a row has a bound, and
bytes cost more than the device's time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kinoray.data.packing import header_bytes, write_views
from kinoray.data.planes import cut_planes, source_box
from kinoray.transforms.colours import colour_code
from kinoray.transforms.crop_boxes import box_before_resize
from kinoray.transforms.windows import Axis, PackedView, Window, plane_bytes
from kinoray.video.frames import Box, Planes, Shot
from kinoray.video.video import Video

NATIVE_SHARE = 2
"""Largest native planes, as a multiple of the planes of what is shown of them."""
LONGEST = 4
"""Largest ratio of a picture's sides with which it is resized as a whole; there is no bound to what it could become."""
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Squares:
    """Squares of a picture that is resized.

    Attributes:
        size: ``(height, width)`` that the picture is resized to.
        corners: (top, left) of each.
        side: of all of them.
        with_mirrors: all of them once more, mirrored, after these.
    """

    size: tuple[int, int]
    corners: Sequence[tuple[int, int]]
    side: int
    with_mirrors: bool = False

    @property
    def of_long_picture(self) -> bool:
        """Whether each square is to be cut out before it is resized: it then lies up to half a stored pixel beside."""
        return max(self.size) > LONGEST * min(self.size)

    def apart(self, of: tuple[int, int]) -> list[Box]:
        """The box of a picture of the size ``of`` that becomes each of the squares."""
        return [box_before_resize(Box(top, left, self.side, self.side), self.size, of) for top, left in self.corners]

    def shots(self, indices: NDArray[np.int64], of: tuple[int, int]) -> list[Shot]:
        """The squares of a long picture of the size ``of``, for each clip of ``(clips, T)``; clips outermost."""
        mirrors = (False, True) if self.with_mirrors else (False,)
        size = (self.side, self.side)
        return [Shot(clip, box, size, mirror) for clip in indices for mirror in mirrors for box in self.apart(of)]

    def windows(self, box: Box, of: tuple[int, int], corners: Sequence[tuple[int, int]]) -> list[Window]:
        """Some of the squares, shown from planes of ``box`` of a picture of the size ``of``."""
        return [
            Window(
                Axis(box.height, -box.top, of[0], self.size[0], top),
                Axis(box.width, -box.left, of[1], self.size[1], left),
                self.side,
                mirror=False,
            )
            for top, left in corners
        ]

    def around(self) -> Box:
        """What holds all squares."""
        (top, left), (bottom, right) = np.min(self.corners, axis=0).tolist(), np.max(self.corners, axis=0).tolist()
        return Box(top, left, bottom + self.side - top, right + self.side - left)


def row_capacity(num_frames: int, num_views: int, side: int, num_squares: int = 1) -> int:
    """Bytes that no row exceeds.

    Args:
        num_frames: of all clips together.
        num_views: M.
        side: of what is shown, in pixels.
        num_squares: different squares of a frame.
    """
    return header_bytes(num_views) + num_frames * _frame_capacity(side, num_squares)


def read_boxes(video: Video, shots: Sequence[Shot], num_clips: int, out: Pictures | None) -> tuple[Pictures, int]:
    """A box of its own from each shot, resized to the shot's size, a square; shots outermost, their clips within.

    Args:
        video: the open video.
        shots: what is shown.
        num_clips: in each shot.
        out: where to write the row, None: a new one.

    Returns:
        the row, and the code of its colour.
    """
    taken = [_taken(video, shot) for shot in shots]
    row, places, starts = _room([window for _, window in taken], len(shots[0].indices), num_clips * len(shots), out)
    planes = video.read_planes([replace(shot, out=place) for (shot, _), place in zip(taken, places, strict=True)])
    num_frames = len(shots[0].indices) // num_clips
    views = [
        PackedView(start + clip * num_frames * window.frame_bytes, num_frames, window)
        for start, (_, window) in zip(starts, taken, strict=True)
        for clip in range(num_clips)
    ]
    write_views(row, views, len(row))
    return row, _colour(planes[0])


def read_squares(
    video: Video, indices: NDArray[np.int64], squares: Squares, out: Pictures | None
) -> tuple[Pictures, int]:
    """The same squares of all clips, cut from planes that they share; clips outermost, squares within.

    Args:
        video: the open video.
        indices: ``(clips, T)`` display indices.
        squares: what of every frame is shown.
        out: where to write the row, None: a new one.

    Returns:
        the row, and the code of its colour.
    """
    frames = indices.ravel()
    size, shots, parts = _stored(video, frames, squares)
    num_clips, num_frames = indices.shape
    num_views = num_clips * len(squares.corners) * (1 + squares.with_mirrors)
    row, places, starts = _room([windows[0] for windows in parts], len(frames), num_views, out)
    if size is None:
        planes = video.read_planes([replace(shot, out=place) for shot, place in zip(shots, places, strict=True)])[0]
    else:
        (planes,) = video.read_planes([Shot(frames, size=size)])
        for shot, place in zip(shots, places, strict=True):
            assert shot.crop is not None
            cut_planes(planes.data, size, shot.crop, place)
    shown = [(start, window) for start, windows in zip(starts, parts, strict=True) for window in windows]
    if squares.with_mirrors:
        shown += [(start, window._replace(mirror=True)) for start, window in shown]
    views = [
        PackedView(start + clip * num_frames * window.frame_bytes, num_frames, window)
        for clip in range(num_clips)
        for start, window in shown
    ]
    write_views(row, views, len(row))
    return row, _colour(planes)


def _stored(
    video: Video, frames: NDArray[np.int64], squares: Squares
) -> tuple[tuple[int, int] | None, list[Shot], list[list[Window]]]:
    """What of each frame is stored, and what each part of that shows; shots of the resized picture, if a size is given.

    It is one box for all squares, but where even that would be too large, one for each.
    """
    displayed, side = (video.height, video.width), squares.side
    if squares.of_long_picture:
        share = NATIVE_SHARE if len(squares.corners) == 1 else 1
        taken = [_taken(video, Shot(frames, box, (side, side)), share) for box in squares.apart(displayed)]
        return None, [shot for shot, _ in taken], [[window] for _, window in taken]
    around, capacity = squares.around(), _frame_capacity(side, len(squares.corners))
    native = source_box(around, squares.size, displayed)
    if _bytes(native) <= min(NATIVE_SHARE * _bytes(around), capacity):
        return None, [Shot(frames, native)], [squares.windows(native, displayed, squares.corners)]
    size, scaled = None if squares.size == displayed else squares.size, around.widened(squares.size)
    if _bytes(scaled) <= capacity:
        return size, [Shot(frames, scaled)], [squares.windows(scaled, squares.size, squares.corners)]
    boxes = [Box(top, left, side, side).widened(squares.size) for top, left in squares.corners]
    windows = [squares.windows(box, squares.size, [at]) for box, at in zip(boxes, squares.corners, strict=True)]
    return size, [Shot(frames, box) for box in boxes], windows


def _frame_capacity(side: int, num_squares: int) -> int:
    """With a pixel more on each side of a square, for whole samples of chroma at its edges."""
    return max(NATIVE_SHARE, num_squares) * plane_bytes(side + 2, side + 2)


def _taken(video: Video, shot: Shot, share: int = NATIVE_SHARE) -> tuple[Shot, Window]:
    """What to read for a shot with a crop and a size, and how that is shown; ``share`` as ``NATIVE_SHARE``."""
    assert shot.crop is not None
    assert shot.size is not None
    side, crop = shot.size[0], shot.crop
    box = crop.widened((video.height, video.width))
    if _bytes(box) > share * plane_bytes(side, side):
        whole = Axis(side, 0, side, side, 0)
        return replace(shot, mirror=False), Window(whole, whole, side, shot.mirror)
    top, left = crop.top - box.top, crop.left - box.left
    if (crop.height, crop.width) == shot.size:  # nothing is resized: chroma stays with its pixels
        rows, columns = Axis(box.height, 0, box.height, box.height, top), Axis(box.width, 0, box.width, box.width, left)
    else:
        rows, columns = Axis(box.height, top, crop.height, side, 0), Axis(box.width, left, crop.width, side, 0)
    return Shot(shot.indices, box), Window(rows, columns, side, shot.mirror)


def _room(
    windows: Sequence[Window], num_frames: int, num_views: int, out: Pictures | None
) -> tuple[Pictures, list[Pictures], list[int]]:
    """The row, in it places ``(num_frames, B)`` for the planes of some windows, and where these begin."""
    sizes = [num_frames * window.frame_bytes for window in windows]
    starts = (header_bytes(num_views) + np.cumsum([0, *sizes])).tolist()
    row = np.empty(starts[-1], np.uint8) if out is None else out[: starts[-1]]
    places = [row[start : start + size].reshape(num_frames, -1) for start, size in zip(starts[:-1], sizes, strict=True)]
    return row, places, starts[:-1]


def _bytes(box: Box) -> int:
    return plane_bytes(box.height, box.width)


def _colour(planes: Planes) -> int:
    return colour_code(planes.matrix, planes.is_full_range)
