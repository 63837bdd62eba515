"""A chain of libavfilter's filters for frames that are all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from av import VideoFrame
from av.filter import Graph

if TYPE_CHECKING:
    from av.filter.context import FilterContext

    from kinoray.video.frames import Box

Filter = tuple[str, str]


class Chain:
    """Filters for frames of one size, format and colour description.

    Args:
        frame: the first of the frames.
        filters: names and arguments; where there are none, frames stay as they are.
        window: the part of the result that is wanted.
    """

    def __init__(self, frame: VideoFrame, filters: list[Filter], window: Box) -> None:
        self.window = window
        self._is_empty = not filters
        if self._is_empty:
            return
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

    def run(self, frame: VideoFrame) -> VideoFrame:
        if self._is_empty:
            return frame
        self._source.push(frame)
        result = self._sink.pull()
        assert isinstance(result, VideoFrame)
        return result


def _linked(first: FilterContext, second: FilterContext) -> FilterContext:
    first.link_to(second)
    return second
