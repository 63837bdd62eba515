"""Short clips that a browser plays by itself: GIF, which MLflow's artifact viewer shows as a picture, and loops.

It plays MP4 too, but stopped, once, and not in all of its versions; at a second a clip that is no help.
"""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import av.filter
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kinoray.tracking.pictures import glyphs_may_lack, shortened

MIN_WIDTH = 256
CAPTION_DPI = 100
LINE_PIXELS = 17
MAX_LINE_CHARS = 38


def captioned(pictures: NDArray[np.uint8], lines: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
    """Frames with words above them; small frames are enlarged by a whole number.

    Args:
        pictures: ``(F, H, W, 3)``.
        lines: (text, colour).

    Returns:
        ``(F, H', W', 3)`` uint8 with W' of at least 256.
    """
    factor = max(1, MIN_WIDTH // pictures.shape[2])
    large = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    missing = max(0, MIN_WIDTH - large.shape[2])
    large = np.pad(large, ((0, 0), (0, 0), (missing // 2, missing - missing // 2), (0, 0)), constant_values=255)
    words = _caption(lines, large.shape[2])
    return np.concatenate([np.broadcast_to(words, (len(large), *words.shape)), large], axis=1)


def gif_bytes(pictures: NDArray[np.uint8], *, fps: int) -> bytes:
    """Encode ``(F, H, W, 3)`` frames as a GIF that loops, with a palette of its own."""
    height, width = pictures.shape[1:3]
    target = io.BytesIO()
    with av.open(target, "w", format="gif", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=fps, width=width, height=height, pix_fmt="pal8")
        graph = palette_graph(width, height, fps)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            graph.push(frame)
        graph.push(None)
        for _ in pictures:
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode(None))
    return target.getvalue()


def palette_graph(width: int, height: int, fps: int, *, of_each: bool = False) -> av.filter.Graph:
    """Filters that choose 256 colours: after they have seen all frames, or of each frame by itself.

    Frames, RGB, are pushed and pulled; those of the first kind come out when the last is in.
    """
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("rgb24", width, height), time_base=Fraction(1, fps)
    )
    split, choose = graph.add("split"), graph.add("palettegen", f"stats_mode={'single' if of_each else 'full'}")
    use = graph.add("paletteuse", f"dither=bayer:bayer_scale=4:new={int(of_each)}")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(choose, 0, 0)
    split.link_to(use, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _caption(lines: Sequence[tuple[str, str]], width: int) -> NDArray[np.uint8]:
    """``(h, width, 3)``."""
    height = LINE_PIXELS * len(lines) + 6
    figure = Figure(figsize=(width / CAPTION_DPI, height / CAPTION_DPI), dpi=CAPTION_DPI)
    canvas = FigureCanvasAgg(figure)
    for number, (text, color) in enumerate(lines):
        middle = 1 - (3 + LINE_PIXELS * (number + 0.5)) / height
        words = shortened(text, MAX_LINE_CHARS * width // MIN_WIDTH)
        figure.text(4 / width, middle, words, fontsize=8, color=color, va="center", parse_math=False)
    with glyphs_may_lack():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
