"""Packed rows: planes of any size, and before them what they are, in one flat array of bytes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kinoray.transforms.windows import Axis, PackedView, Window

_AXIS = len(Axis._fields)
# A view's start, num_frames, side, mirror, rows, columns; before all views how many there are, and the bytes in use.
_PER_VIEW, _FIRST = 4 + 2 * _AXIS, 2
_WORD = np.dtype(np.int64)


def header_bytes(num_views: int) -> int:
    """What comes before the planes."""
    return (_FIRST + num_views * _PER_VIEW) * _WORD.itemsize


def write_views(row: NDArray[np.uint8], views: Sequence[PackedView], num_bytes: int) -> None:
    """Write what ``(B,)`` holds to its beginning; ``num_bytes`` of it are in use."""
    words = [len(views), num_bytes]
    for start, num_frames, (rows, columns, side, mirror) in views:
        words += [start, num_frames, side, mirror, *rows, *columns]
    row[: header_bytes(len(views))] = np.array(words, _WORD).view(np.uint8)


def read_views(row: NDArray[np.uint8]) -> list[PackedView]:
    """What ``(B,)`` holds."""
    num_views = int(_words(row, 1)[0])
    table = _words(row, _FIRST + num_views * _PER_VIEW)[_FIRST:].reshape(num_views, _PER_VIEW).tolist()
    return [
        PackedView(start, num_frames, Window(Axis(*axes[:_AXIS]), Axis(*axes[_AXIS:]), side, bool(mirror)))
        for start, num_frames, side, mirror, *axes in table
    ]


def used_bytes(row: NDArray[np.uint8]) -> int:
    """How much of ``(B,)`` is in use; what comes after that means nothing."""
    return int(_words(row, _FIRST)[1])


def write_blank(row: NDArray[np.uint8], num_views: int, num_frames: int, side: int) -> None:
    """Make of ``(B,)`` the row of a video that could not be read."""
    nothing = Axis(0, 0, 0, 0, 0)
    view = PackedView(header_bytes(num_views), num_frames, Window(nothing, nothing, side, mirror=False))
    write_views(row, [view] * num_views, header_bytes(num_views))


def _words(row: NDArray[np.uint8], number: int) -> NDArray[np.int64]:
    return row[: number * _WORD.itemsize].view(_WORD)
