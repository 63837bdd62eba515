"""What holds of a video file whatever decodes it."""

from pathlib import Path

import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.limits import Limits
from kinoray.video.open import check_backend, open_video


@pytest.fixture(params=["pyav", "torchcodec"])
def backend(request):
    if request.param == "torchcodec":
        pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError))
    check_backend(request.param)
    return request.param


@pytest.fixture(params=["even", "uneven"])
def numbered(request, movie, write_video, tmp_path):
    """A video of 60 numbered frames, at 25 a second or at any time."""
    if request.param == "even":
        return movie
    pts = np.cumsum(np.random.default_rng(0).integers(5, 90, 60)).tolist()
    return write_video(tmp_path / "uneven.mp4", pts=pts)


def test_frames_are_those_of_their_indices(backend, numbered, indices_of):
    rng = np.random.default_rng(0)
    with open_video(numbered, backend=backend) as video:
        assert video.num_frames == 60
        for _ in range(6):
            indices = rng.integers(60, size=rng.integers(1, 9))
            frames = video.read(indices)
            assert indices_of(frames) == indices.tolist()
            np.testing.assert_array_equal(frames.pts_seconds, video.pts_seconds[indices])


def test_frames_are_those_of_their_times(backend, numbered, indices_of):
    with open_video(numbered, backend=backend) as video:
        times = video.pts_seconds[[3, 17, 58]]
        assert indices_of(video.read(video.frames_at(times))) == [3, 17, 58]
        assert indices_of(video.read(video.frames_at(times - 0.002))) == [2, 16, 57]


def test_content_and_index(backend, movie, indices_of):
    with VideoReader(movie) as video:
        index = video.packet_index()
    with open_video(Path(movie).read_bytes(), name="mine", index=index, backend=backend) as video:
        assert (video.name, video.codec, video.keyframes.tolist()) == ("mine", "h264", [0, 12, 24, 36, 48])
        assert indices_of(video.read([59, 0, 30])) == [59, 0, 30]


def test_shots(backend, movie):
    box = Box(2, 4, 30, 40)
    shots = [
        Shot(np.array([7, 3, 3])),
        Shot(np.array([3, 59]), box, (15, 20), mirror=True),
        Shot(np.array([], np.int64)),
    ]
    out = np.zeros((3, 48, 64, 3), np.uint8)
    with VideoReader(movie) as ours, open_video(movie, backend=backend) as video:
        whole, part, empty = video.read_shots(shots)
        for mine, expected in zip((whole, part, empty), ours.read_shots(shots), strict=True):
            np.testing.assert_allclose(mine.data, expected.data, atol=3)
        (planes,), (expected_planes,) = video.read_planes(shots[:1]), ours.read_planes(shots[:1])
        np.testing.assert_allclose(planes.data, expected_planes.data, atol=3)
        video.read_shots([Shot(np.array([7, 3, 3]), out=out)])
        np.testing.assert_array_equal(out, whole.data)


def test_what_cannot_be(backend, movie, tmp_path):
    with open_video(movie, backend=backend, limits=Limits(num_pixels=10_000)) as video:
        with pytest.raises(IndexError, match="got 60; the video has 60 frames, 0 to 59"):
            video.read([60])
        with pytest.raises(ValueError, match=r"crop, got Box\(.*\); it lies within 48 x 64 pixels"):
            video.read([0], crop=Box(0, 0, 49, 10))
        with pytest.raises(DecodeError, match="pictures of 100 x 101 pixels, got a limit of 10000"):
            video.read([0], size=(100, 101))
    page = tmp_path / "page.mp4"
    page.write_text("<html>not found</html>")
    with pytest.raises(DecodeError, match=r"page\.mp4: not a video") as caught:
        open_video(str(page), backend=backend)
    assert caught.value.reason == "unreadable"
