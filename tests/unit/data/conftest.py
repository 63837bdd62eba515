"""Lossless videos that tell which frame is which and which side is left."""

import av
import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64
LEFT_IS_BRIGHTER = 40


@pytest.fixture(scope="session")
def write_video():
    """Writes square-pixel H.264 at 25 fps: luma is three times the frame's index, more on the left half."""

    def write(path, num_frames=40, *, size=(HEIGHT, WIDTH)):
        height, width = size
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"qp": "0", "g": "12", "preset": "ultrafast"})
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            for index in range(num_frames):
                planes = np.full((height * 3 // 2, width), 128, np.uint8)
                planes[:height] = 16 + 3 * index
                planes[:height, : width // 2] += LEFT_IS_BRIGHTER
                container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
            container.mux(stream.encode(None))
        return str(path)

    return write


@pytest.fixture(scope="session")
def video(write_video, tmp_path_factory):
    """40 frames, 48 x 64."""
    return write_video(tmp_path_factory.mktemp("video") / "numbered.mp4")


@pytest.fixture(scope="session")
def indices_of():
    """Which frames a clip ``(..., H, W, C)`` holds, read at the darker side's edge."""

    def indices(clip):
        dark = clip[..., clip.shape[-3] // 2, [0, -1], 1].min(axis=-1)
        return np.round(dark * (219 / 255) / 3).astype(int)

    return indices


@pytest.fixture(scope="session")
def brighter_side():
    """The side of a clip's brighter half."""
    return lambda clip: "left" if clip[..., 0, :].mean() > clip[..., -1, :].mean() else "right"
