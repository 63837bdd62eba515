"""A video with words drawn on it, as MP4 or GIF: read, drawn on and encoded piece by piece, so it may be of any length.

Pictures are upright and keep their times; sound is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import IdentityTransform

from kinoray.errors import ConfigError, ResourceError
from kinoray.tracking.clips import palette_graph
from kinoray.tracking.pictures import glyphs_may_lack, shortened
from kinoray.video.encode import NUM_TICKS, write_mp4
from kinoray.video.frames import Shot
from kinoray.video.pieces import pieces

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from kinoray.video.video import Video

SUFFIXES = (".mp4", ".gif")
MAX_HELD_BYTES = 256 << 20
"""Decoded pictures in memory at a time."""
MIN_SIDE = 240
"""Smaller videos are enlarged by a whole number, so that words have room."""
GIF_SIDE, GIF_FPS = 480, 10
"""A GIF's longer side at most, in pixels, and its pictures a second: it takes 20 times the bytes of an MP4."""
DPI = 100


def check_target(out: Path) -> None:
    """Raise a ConfigError where a name is that of neither format."""
    if out.suffix not in SUFFIXES:
        raise ConfigError(f"--out: the video with labels, got '{out}'; it should end with {' or '.join(SUFFIXES)}")


def write_annotated(video: Video, lines: Sequence[str], out: Path) -> None:
    """Draw lines of words into the upper left corner of every picture.

    Args:
        video: open.
        lines: the first stands out.
        out: an .mp4 or .gif file; appears when it is whole.

    Raises:
        DecodeError: more pictures are damaged than the reader may fill.
        ResourceError: the file cannot be written.
    """
    is_gif = out.suffix == ".gif"
    size = _size(video, GIF_SIDE if is_gif else None)
    aside = out.with_name(f".{out.name}")
    try:
        with _failures_named(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            if is_gif:
                start, end = video.pts_seconds[0], video.pts_seconds[-1] + 1 / video.fps
                indices = video.frames_at(np.arange(start, end, 1 / GIF_FPS))
                _write_gif(aside, _pictures(video, indices, size, overlay(lines, size)), size)
            else:
                ticks = _rising(np.round((video.pts_seconds - video.pts_seconds[0]) * NUM_TICKS).astype(np.int64))
                pictures = _pictures(video, np.arange(video.num_frames), size, overlay(lines, size))
                write_mp4(aside, zip(pictures, ticks.tolist(), strict=True), size, video.fps)
            aside.replace(out)
    finally:
        with suppress(OSError):
            aside.unlink()


def overlay(lines: Sequence[str], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Words on dark ground, for the upper left corner of a picture.

    Args:
        lines: as many are left out as would cover more than the upper half.
        size: ``(height, width)`` of the picture.

    Returns:
        ``(h, width, 4)``, RGBA.
    """
    height, width = size
    line_pixels = int(np.clip(min(size) / 16, 15, 60))
    lines = lines[: max(1, height // (2 * line_pixels) - 1)]
    figure = Figure(figsize=(width / DPI, min(height, line_pixels * (len(lines) + 1)) / DPI), dpi=DPI)
    figure.patch.set_alpha(0)
    canvas = FigureCanvasAgg(figure)
    _, all_pixels = canvas.get_width_height()
    margin, max_chars = line_pixels // 2, max(4, int(width / (line_pixels * 0.42)))
    words = [
        figure.text(
            2 * margin,
            all_pixels - line_pixels * (number + 1.25),
            shortened(line, max_chars),
            transform=IdentityTransform(),
            fontsize=line_pixels * 0.62 * 72 / DPI,
            color="white" if number == 0 else "#d5dbe1",
            fontweight="bold" if number == 0 else "normal",
            va="center",
            parse_math=False,
        )
        for number, line in enumerate(lines)
    ]
    with glyphs_may_lack():
        widest = max(text.get_window_extent(canvas.get_renderer()).width for text in words)
    ground = FancyBboxPatch(
        (margin, 0),
        widest + 2 * margin,
        all_pixels - margin,
        boxstyle=f"round,pad=0,rounding_size={margin / 2}",
        transform=IdentityTransform(),
        facecolor="black",
        edgecolor="none",
        alpha=0.62,
        zorder=0,
    )
    figure.add_artist(ground)
    with glyphs_may_lack():
        canvas.draw()
    drawn: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[:height, :width]
    return drawn


def _size(video: Video, longest: int | None) -> tuple[int, int]:
    """``(height, width)``, both even, as encoders want them."""
    scale = float(max(1, -(-MIN_SIDE // min(video.height, video.width))))
    if longest is not None:
        scale = min(scale, longest / max(video.height, video.width))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in (video.height, video.width))
    return height, width


def _pictures(
    video: Video, indices: NDArray[np.int64], size: tuple[int, int], words: NDArray[np.uint8]
) -> Iterator[NDArray[np.uint8]]:
    """Every picture, ``(H, W, 3)``, with the words on it."""
    opacity = words[..., 3:].astype(np.uint16)
    ink = words[..., :3] * opacity + 127
    for piece in pieces(video, indices, max(1, MAX_HELD_BYTES // (size[0] * size[1] * 3))):
        (frames,) = video.read_shots([Shot(piece, size=size)])
        for picture in frames.data:
            corner = picture[: len(words)]
            corner[:] = (corner * (255 - opacity) + ink) // 255
            yield picture


def _rising(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times of which each is later than the one before, as MP4 demands."""
    steps = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - steps) + steps


def _write_gif(path: Path, pictures: Iterable[NDArray[np.uint8]], size: tuple[int, int]) -> None:
    """Write a GIF that loops; each picture has its palette, so none waits for those that follow."""
    with av.open(path, "w", format="gif", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=GIF_FPS, height=size[0], width=size[1], pix_fmt="pal8")
        graph = palette_graph(size[1], size[0], GIF_FPS, of_each=True)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, GIF_FPS)
            graph.push(frame)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode(None))


@contextmanager
def _failures_named(out: Path) -> Iterator[None]:
    """What writing raises becomes a ResourceError that names the file; what reading raises is a DecodeError already."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise ResourceError(f"{out}: cannot be written ({error}); choose another --out") from error
