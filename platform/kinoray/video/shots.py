"""The pictures of several shots of one video, filled as its frames come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinoray.video.convert import Converter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from av import VideoFrame
    from numpy.typing import NDArray

    from kinoray.video.frames import Shot


class Album:
    """The pictures of several shots. Each frame is converted at once, while it is in the cache, for all that want it.

    Args:
        shots: what is wanted.
        displayed: ``(height, width)`` of the video's picture.
        planes: whether pictures are YUV planes rather than RGB.

    Attributes:
        data: of each shot, its ``out`` if it has one: ``(T, H, W, 3)`` uint8, or ``(T, B)`` of planes.
        converters: of each shot.
        due: indices of the frames that have not come.
    """

    def __init__(self, shots: Sequence[Shot], displayed: tuple[int, int], *, planes: bool) -> None:
        shared: dict[tuple[object, ...], Converter] = {}
        self.converters: list[Converter] = []
        self.data: list[NDArray[np.uint8]] = []
        # Of each shot: rows by frame. Of each frame: rows by converter; shots that are cut alike share one.
        self._rows: list[dict[int, list[NDArray[np.uint8]]]] = []
        self._places: dict[int, dict[Converter, list[NDArray[np.uint8]]]] = {}
        for shot in shots:
            way = (shot.crop, shot.size, shot.mirror)
            if way not in shared:
                shared[way] = Converter(displayed, shot.crop, shot.size, mirror=shot.mirror, planes=planes)
            converter = shared[way]
            data = shot.place(converter.shape)
            rows: dict[int, list[NDArray[np.uint8]]] = {}
            for index, row in zip(shot.indices.tolist(), data, strict=True):
                rows.setdefault(index, []).append(row)
                self._places.setdefault(index, {}).setdefault(converter, []).append(row)
            self.converters.append(converter)
            self.data.append(data)
            self._rows.append(rows)
        self.due = set(self._places)

    def take(self, index: int, frame: VideoFrame) -> None:
        """Put in a frame, if it is due."""
        if index not in self.due:
            return
        self.due.discard(index)
        for converter, (first, *others) in self._places[index].items():
            converter.convert(frame, first)
            for row in others:
                row[...] = first

    def most_missing(self) -> tuple[int, int]:
        """Of the shot that lacks the largest fraction of its frames: how many it lacks, and how many it wants."""
        counts = [(sum(index in self.due for index in rows), len(rows)) for rows in self._rows if rows]
        return max(counts, key=lambda count: count[0] / count[1], default=(0, 0))

    def fill(self) -> None:
        """Copy to every place whose frame did not come the nearest frame of its shot that did."""
        for rows in self._rows:
            came = np.array([index for index in rows if index not in self.due])
            for index in rows.keys() & self.due:
                nearest = came[np.argmin(np.abs(came - index))]
                for row in rows[index]:
                    row[...] = rows[int(nearest)][0]
