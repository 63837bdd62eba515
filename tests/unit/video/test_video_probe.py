from pathlib import Path

import pytest
from PIL import Image

from kinoray.errors import DecodeError
from kinoray.video.probe import VideoInfo, probe


def test_probe(movie):
    assert probe(movie) == VideoInfo(
        num_frames=60,
        fps=25.0,
        width=64,
        height=48,
        duration_seconds=pytest.approx(2.4),
        codec="h264",
        bytes=Path(movie).stat().st_size,
    )


def test_probe_of_a_folder(tmp_path):
    for number in range(3):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{number}.png")
    info = probe(str(tmp_path))
    assert (info.num_frames, info.width, info.height, info.codec, info.duration_seconds) == (3, 64, 48, "png", 0.1)
    assert info.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_probe_of_nothing(tmp_path):
    with pytest.raises(DecodeError, match="no such file"):
        probe(str(tmp_path / "none.mp4"))
