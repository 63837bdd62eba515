"""Frames in memory are a video like any other."""

import numpy as np
import pytest

from kinoray.errors import DataError
from kinoray.video.array_video import ArrayVideo
from kinoray.video.frames import Box


def grey_steps(num_frames: int = 5) -> np.ndarray:
    """Frames whose grey level is ten times their index, but the left half of which is black."""
    frames = np.zeros((num_frames, 16, 24, 3), np.uint8)
    frames[:, :, 12:] = (10 * np.arange(num_frames, dtype=np.uint8))[:, None, None, None]
    return frames


def test_frames_come_as_they_are() -> None:
    frames = grey_steps()
    with ArrayVideo(frames, fps=10) as video:
        assert (video.num_frames, video.height, video.width, video.duration_seconds) == (5, 16, 24, 0.5)
        read = video.read([4, 1, 1])
    assert np.array_equal(read.data, frames[[4, 1, 1]])
    assert read.pts_seconds == pytest.approx([0.4, 0.1, 0.1])


def test_they_are_cut_resized_and_mirrored() -> None:
    video = ArrayVideo(grey_steps())
    cut = video.read([3], crop=Box(0, 12, 16, 12), size=(8, 6)).data
    assert cut.shape == (1, 8, 6, 3)
    assert np.abs(cut.astype(int) - 30).max() <= 1
    assert video.read([3], mirror=True).data[0, 0, 0].tolist() == [30, 30, 30]


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 4), np.uint8), np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 3))],
)
def test_other_arrays_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"it should be uint8 \(T, H, W, 3\)"):
        ArrayVideo(frames)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_frames_per_second_are_a_number_above_zero(fps: float) -> None:
    with pytest.raises(DataError, match="frames per second"):
        ArrayVideo(grey_steps(), fps=fps)
