"""Decoded frames to RGB pictures: rotated, cropped, resized.

Cropping and resizing work on the decoder's own planes, so that only the picture that is wanted becomes RGB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

from kinoray.video.frames import Box, Matrix

if TYPE_CHECKING:
    from av.filter.context import FilterContext
    from numpy.typing import NDArray

# What a resized picture may be before it becomes RGB; libavfilter takes the one nearest to the source.
_PLANES = "yuv420p|yuvj420p|yuv422p|yuvj422p|yuv444p|yuvj444p|gray|rgb24"
# The conversion to RGB works on blocks: a crop that starts at one converts as the same part of the full picture does.
_BLOCK = 4


class Converter:
    """Turns the frames of one video into RGB pictures of one size.

    Frames whose coded size differs from the first one's (streams that change their resolution) are brought to the
    displayed size first.

    Args:
        displayed: ``(height, width)`` of the picture as it is shown.
        crop: what to cut out, None for the whole picture.
        size: ``(height, width)`` to resize to, bilinear; None keeps the crop's own.
        mirror: whether to exchange left and right, last of all.
        planes: give YUV 4:2:0 planes, not RGB.
    """

    def __init__(
        self,
        displayed: tuple[int, int],
        crop: Box | None,
        size: tuple[int, int] | None,
        *,
        mirror: bool = False,
        planes: bool = False,
    ) -> None:
        self._displayed = displayed
        crop = crop or Box(0, 0, *displayed)
        if planes and size is None:
            top, left = crop.top // 2 * 2, crop.left // 2 * 2
            bottom = min(displayed[0], (crop.top + crop.height + 1) // 2 * 2)
            right = min(displayed[1], (crop.left + crop.width + 1) // 2 * 2)
            crop = Box(top, left, bottom - top, right - left)
        self._crop = crop
        self._mirror = mirror
        self._planes = planes
        self.height, self.width = size or (crop.height, crop.width)
        self._is_resized = (self.height, self.width) != (crop.height, crop.width)
        chroma = (self.height + 1) // 2 * ((self.width + 1) // 2)
        self.shape: tuple[int, ...] = (
            (self.height * self.width + 2 * chroma,) if planes else (self.height, self.width, 3)
        )
        self.matrix: Matrix = "bt601"
        self.is_full_range = False
        self._to_rgb = VideoReformatter()
        self._cutters: dict[tuple[object, ...], _Cutter | None] = {}

    def convert(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        """Write the frame's picture into ``out``, ``(H, W, 3)``."""
        turns = quarter_turns(frame)
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, turns)
        if key not in self._cutters:
            self._cutters[key] = self._plan(frame, turns)
        cutter = self._cutters[key]
        if cutter is not None:
            frame = cutter.cut(frame)
        if self._planes:
            self._write_planes(frame, cutter, turns, out)
            return
        rgb = self._to_rgb.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        picture = _pixels(rgb)
        if cutter is not None:
            picture = picture[cutter.window]
        picture = np.rot90(picture, turns) if turns else picture
        np.copyto(out, picture[:, ::-1] if self._mirror else picture)

    def _write_planes(self, frame: VideoFrame, cutter: _Cutter | None, turns: int, out: NDArray[np.uint8]) -> None:
        x, y = (cutter.window[1].start or 0, cutter.window[0].start or 0) if cutter else (0, 0)
        self.matrix = "bt709" if frame.colorspace == 1 else "bt2020" if frame.colorspace in (9, 10) else "bt601"
        self.is_full_range = frame.color_range == 2 or frame.format.name.startswith("yuvj")
        name = "yuvj420p" if self.is_full_range else "yuv420p"
        frame = self._to_rgb.reformat(frame, format=name, interpolation=Interpolation.BILINEAR, threads=1)
        start = 0
        for plane, grid in zip(frame.planes, (1, 2, 2), strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            picture = np.rot90(rows[y // grid :, x // grid : plane.width], turns)
            picture = picture[:, ::-1] if self._mirror else picture
            out[start : start + picture.size] = picture.reshape(-1)
            start += picture.size

    def _plan(self, frame: VideoFrame, turns: int) -> _Cutter | None:
        """How frames like this one become the picture before its rotation; None where they are it already."""
        coded = self._displayed[:: -1 if turns % 2 else 1]
        crop = turn_back(self._crop, self._displayed, turns)
        is_other_size = (frame.height, frame.width) != coded
        if not is_other_size and not self._is_resized and crop == (0, 0, *coded):
            return None
        filters = [("scale", f"{coded[1]}:{coded[0]}:flags=bilinear")] if is_other_size else []
        if not self._is_resized:
            x, y = crop.left % _BLOCK, crop.top % _BLOCK
            wider = f"{crop.width + x}:{crop.height + y}:{crop.left - x}:{crop.top - y}:exact=1"
            return _Cutter(frame, [*filters, ("crop", wider)], np.s_[y:, x:])
        # Pixels of luma to one of chroma; how far the crop starts past a whole one of chroma.
        grid_x, grid_y = 1024 // frame.format.chroma_width(1024), 1024 // frame.format.chroma_height(1024)
        past_x, past_y = crop.left % grid_x, crop.top % grid_y
        if (past_x or past_y) and frame.format.components[0].bits > 8:
            filters.append(("format", _PLANES))  # the crop filter would start amid the bytes of a chroma sample
        height, width = (self.height, self.width)[:: -1 if turns % 2 else 1]
        chroma = f"in_h_chr_pos={_chroma_centre(grid_x, past_x)}:in_v_chr_pos={_chroma_centre(grid_y, past_y)}"
        filters += [
            ("crop", f"{crop.width}:{crop.height}:{crop.left}:{crop.top}:exact=1"),
            ("scale", f"{width}:{height}:flags=bilinear:{chroma}"),
            ("format", _PLANES),
        ]
        return _Cutter(frame, filters, np.s_[:, :])


class _Cutter:
    """A chain of filters for frames of one size, format and colour description.

    Args:
        frame: the first of the frames.
        filters: names and arguments.
        window: what to keep of the RGB picture that the chain's result becomes.
    """

    def __init__(
        self, frame: VideoFrame, filters: list[tuple[str, str]], window: tuple[slice[int | None], slice[int | None]]
    ) -> None:
        self.window = window
        self._graph = Graph()
        self._graph.threads = 1
        self._source = last = self._graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:pixel_aspect=1/1"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        for name, arguments in filters:
            last = _linked(last, self._graph.add(name, arguments))
        self._sink = _linked(last, self._graph.add("buffersink"))
        self._graph.configure()

    def cut(self, frame: VideoFrame) -> VideoFrame:
        self._source.push(frame)
        cut = self._sink.pull()
        assert isinstance(cut, VideoFrame)
        return cut


def quarter_turns(frame: VideoFrame) -> int:
    """How often to turn the frame counterclockwise by 90 degrees, as its display matrix asks: 0..3."""
    return round(frame.rotation / 90) % 4


def turn_back(box: Box, displayed: tuple[int, int], turns: int) -> Box:
    """Where a box of the displayed picture lies in the coded picture.

    Args:
        box: in the displayed picture.
        displayed: ``(height, width)`` of the displayed picture.
        turns: counterclockwise quarter turns from the coded to the displayed picture.
    """
    height, width = displayed
    for _ in range(turns):
        box = Box(box.left, height - box.top - box.height, box.width, box.height)
        height, width = width, height
    return box


def _chroma_centre(grid: int, past: int) -> int:
    """Where the first chroma sample's centre lies, in 1/256 pixel of luma from the first one's.

    Args:
        grid: pixels of luma to one of chroma, along this axis.
        past: pixels of luma by which the crop starts after the chroma sample does.
    """
    return 128 * (grid - 1) - 256 * past


def _linked(first: FilterContext, second: FilterContext) -> FilterContext:
    first.link_to(second)
    return second


def _pixels(frame: VideoFrame) -> NDArray[np.uint8]:
    """``(H, W, 3)`` view of an rgb24 frame, whose rows are padded in memory."""
    plane = frame.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
