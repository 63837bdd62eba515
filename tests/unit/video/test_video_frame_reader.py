"""What holds of a reader whatever is read: how pictures are turned, what it is called, what it may cost."""

import struct
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video import decode
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.limits import Limits


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("right", [1, -1])
@pytest.mark.parametrize("down", [1, -1])
def test_display_matrices_may_mirror(tmp_path, transposed, right, down):
    """In the matrix (a, b; c, d), ``(x, y)`` is shown at ``(a * x + c * y, b * x + d * y)``."""
    one = 1 << 16
    path = tmp_path / "still.mp4"
    rng = np.random.default_rng(0)
    blocks = rng.integers(40, 216, (6, 10, 1)).repeat(4, 0).repeat(4, 1).repeat(3, 2).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 24, 40, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(blocks, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    with VideoReader(content) as video:
        coded = [video.read([0], size=size).data[0] for size in (None, (12, 20))]
    shown, half = ((data.transpose(1, 0, 2) if transposed else data)[::down, ::right] for data in coded)
    a, b, c, d = (0, down * one, right * one, 0) if transposed else (right * one, 0, 0, down * one)
    at = content.index(struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    turned = content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :]
    with VideoReader(turned) as video:
        assert (video.height, video.width) == shown.shape[:2]
        np.testing.assert_array_equal(video.read([0]).data[0], shown)
        np.testing.assert_array_equal(video.read([0], crop=Box(4, 6, 10, 12)).data[0], shown[4:14, 6:18])
        np.testing.assert_array_equal(video.read([0], mirror=True).data[0], shown[:, ::-1])
        np.testing.assert_allclose(video.read([0], size=half.shape[:2]).data[0], half, atol=2)


def test_names_hold_no_password(movie, monkeypatch):
    monkeypatch.setattr(decode, "open_video_file", lambda *_, **__: movie)
    with VideoReader("https://me:secret@host/movie.mp4") as video:
        assert video.name == "https://***@host/movie.mp4"


@pytest.mark.parametrize("num_good", [0, 1, 4])
def test_a_source_that_fails_is_named(movie, num_good):
    class Failing(BytesIO):
        num_reads = 0

        def read(self, size=-1):
            self.num_reads += 1
            if self.num_reads > num_good:
                raise OSError("the disk is gone")
            return super().read(min(size, 1024))

    with pytest.raises(DecodeError, match=r"tape: .*the disk is gone") as caught:
        VideoReader(Failing(Path(movie).read_bytes()), name="tape")
    assert caught.value.reason == "unreadable"


def test_pictures_cannot_be_resized_beyond_the_limit(movie):
    with VideoReader(movie, limits=Limits(num_pixels=10_000)) as video:
        video.read([0], size=(100, 100))
        with pytest.raises(DecodeError, match=r"pictures of 100 x 101 pixels, got a limit of 10000; .* 48 x 64"):
            video.read([0], size=(100, 101))


@pytest.mark.parametrize("pixels", ["rgb", "planes"])
def test_pictures_are_written_where_they_are_wanted(movie, pixels):
    indices = np.array([9, 3, 9])
    with VideoReader(movie) as video:
        read = video.read_shots if pixels == "rgb" else video.read_planes
        (expected,) = read([Shot(indices, Box(4, 6, 20, 30), (10, 14))])
        out = np.zeros((2, *expected.data.shape), np.uint8)
        (given,) = read([Shot(indices, Box(4, 6, 20, 30), (10, 14), out=out[1])])
    assert np.shares_memory(given.data, out)
    np.testing.assert_array_equal(out[1], expected.data)
    assert not out[0].any()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((1, 48, 64, 3), np.uint8),
        np.zeros((2, 48, 64, 3), np.int8),
        np.zeros((2, 48, 128, 3), np.uint8)[:, :, ::2],
    ],
    ids=["shape", "dtype", "gaps"],
)
def test_places_that_do_not_fit(movie, out):
    with (
        VideoReader(movie) as video,
        pytest.raises(ValueError, match=r"Shot\.out, got .*uint8 \(2, 48, 64, 3\) is due"),
    ):
        video.read_shots([Shot(np.array([0, 1]), out=out)])
