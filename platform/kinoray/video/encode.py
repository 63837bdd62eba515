"""Pictures as files that every browser and player knows."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import av
from av.video.reformatter import ColorRange, Colorspace

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

NUM_TICKS = 90_000
"""Of an MP4's times, in a second."""
BT709 = 1
"""FFmpeg's number of the primaries and of the transfer curve."""


def write_mp4(
    target: Path | BinaryIO,
    pictures: Iterable[tuple[NDArray[np.uint8], int]],
    size: tuple[int, int],
    fps: float,
    *,
    crf: int = 20,
) -> None:
    """Write pictures with their ticks as H.264 of a kind that every player knows.

    Args:
        target: of a file, one can begin to play it before all of it is there.
        pictures: ``(H, W, 3)`` and when each is shown, ascending.
        size: ``(height, width)``, both even.
        fps: on average.
        crf: constant rate factor, more is less quality.
    """
    options = {"movflags": "+faststart"} if isinstance(target, Path) else {}
    with av.open(target, "w", format="mp4", options=options) as container:
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": str(crf)})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        encoder = stream.codec_context
        encoder.time_base = Fraction(1, NUM_TICKS)
        encoder.colorspace = encoder.color_primaries = encoder.color_trc = BT709
        encoder.color_range = ColorRange.MPEG
        for picture, tick in pictures:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = tick, encoder.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def webp_bytes(picture: NDArray[np.uint8], *, quality: int = 75) -> bytes:
    """One ``(H, W, 3)`` picture; ``quality`` up to 100."""
    target = io.BytesIO()
    with av.open(target, "w", format="webp") as container:
        stream = container.add_stream("libwebp", rate=1, options={"quality": str(quality)})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()
