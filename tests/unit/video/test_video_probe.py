from pathlib import Path

import pytest

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


def test_probe_of_nothing(tmp_path):
    with pytest.raises(DecodeError, match="no such file"):
        probe(str(tmp_path / "none.mp4"))
