"""Lossless videos whose every picture tells which frame it is."""

from fractions import Fraction

import av
import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64


def numbered_picture(index, height=HEIGHT, width=WIDTH):
    """Luma levels: three times the frame's index, brighter in a marked corner at the upper left."""
    luma = np.full((height, width), 16 + 3 * index, np.uint8)
    luma[: height // 4, : width // 2] += 30
    return luma


def make_video(path, num_frames=60, *, codec="libx264", pts=None, size=(HEIGHT, WIDTH), options=None, rate=25):
    """Write ``num_frames`` numbered pictures; ``pts`` gives uneven times in units of 1/1000 s."""
    if options is None:
        options = {"qp": "0", "g": "12", "bf": "2", "preset": "ultrafast"} if codec == "libx264" else {}
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000) if pts else Fraction(1, rate)
        for index in range(num_frames):
            luma = numbered_picture(index, height, width)
            chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, values in zip(frame.planes, (luma, chroma, chroma), strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : plane.width] = values
                plane.update(rows)
            frame.time_base = stream.codec_context.time_base
            frame.pts = pts[index] if pts else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def read_numbers(frames):
    """Which frames these are, read from a pixel in the middle, outside of the marked corner."""
    middle = frames.data[:, frames.data.shape[1] // 2, frames.data.shape[2] // 2, 1]
    return np.round(middle * (219 / 255) / 3).astype(int).tolist()


@pytest.fixture(scope="session")
def movie(tmp_path_factory):
    """60 frames, 48 x 64, H.264 with a keyframe every 12 and B-frames, 25 fps."""
    return make_video(tmp_path_factory.mktemp("movie") / "movie.mp4")


@pytest.fixture(scope="session")
def write_video():
    return make_video


@pytest.fixture(scope="session")
def indices_of():
    return read_numbers
