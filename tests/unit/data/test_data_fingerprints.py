"""What is kept of a video to know it again."""

import io

import numpy as np
import pytest

from kinoray.data.fingerprints import NUM_BYTES, NUM_TIMES, SIDE, content_digest, fingerprint, pictures
from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader

LUMA_PER_FRAME = 3


def test_pictures_of_relative_times(video):
    with VideoReader(video) as reader:
        (shown,) = pictures([fingerprint(reader)])
    assert shown.shape == (NUM_TIMES, SIDE * SIDE)
    dark = shown.reshape(NUM_TIMES, SIDE, SIDE)[:, :, -1].astype(int)
    expected = np.floor((np.arange(NUM_TIMES) + 0.5) / NUM_TIMES * 40)
    assert np.abs((dark[:, 4] - 16) / LUMA_PER_FRAME - expected).max() <= 0.5
    assert (shown.reshape(NUM_TIMES, SIDE, SIDE)[:, :, 0] - dark > 30).all(), "the left half is brighter"


def test_a_video_of_one_picture(write_video, tmp_path):
    with VideoReader(write_video(tmp_path / "one.mp4", 1)) as reader:
        content = fingerprint(reader)
    assert len(content) == NUM_BYTES
    assert (pictures([content])[0] == pictures([content])[0][0]).all()


def test_a_damaged_video_has_none(video, monkeypatch):
    def refuse(shots):
        raise DecodeError("x: 9 of 24 frames cannot be decoded")

    with VideoReader(video) as reader:
        monkeypatch.setattr(reader, "read_planes", refuse)
        assert fingerprint(reader) == b""


@pytest.mark.parametrize("content", [b"", b"abc", bytes(3_000_000)])
def test_a_digest_is_of_the_bytes_wherever_they_are(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    file = io.BytesIO(content)
    assert content_digest(str(path)) == content_digest(content) == content_digest(file)
    assert file.tell() == 0
    assert content_digest(content + b"x") != content_digest(content)
