"""A video with words on it: the same pictures at the same times, legible and mostly uncovered."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kinoray.cli import recognizing_video
from kinoray.cli.recognizing_video import check_target, overlay, write_annotated
from kinoray.errors import ConfigError, ResourceError
from kinoray.video.array_video import ArrayVideo
from kinoray.video.open import open_video

LINES = ["0.812  arm wrestling", "0.094  shaking hands", "0.030  thumb wrestling"]


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """25 of 240 x 320, each greyer than the one before."""
    levels = np.arange(100, 200, 4, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (25, 240, 320, 3)).copy()


def read_all(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    with open_video(str(path)) as video:
        return video.read(range(video.num_frames)).data, video.pts_seconds


def test_mp4_keeps_pictures_and_times(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    video = ArrayVideo(frames, fps=29.97)
    write_annotated(video, LINES, tmp_path / "new" / "shown.mp4")
    shown, times = read_all(tmp_path / "new" / "shown.mp4")
    assert shown.shape == frames.shape
    np.testing.assert_allclose(times - times[0], video.pts_seconds, atol=1e-4)
    covered = overlay(LINES, (240, 320))[..., 3] > 0
    below = shown[:, len(covered) + 8 :].astype(int) - frames[:, len(covered) + 8 :]
    assert abs(below).max() <= 4
    words = shown[:, : len(covered)][:, covered]
    assert (words.min(axis=(1, 2)) < 90).all()  # the ground
    assert (words.max(axis=(1, 2)) > 230).all()  # the words
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["shown.mp4"]


def test_gif_has_ten_pictures_a_second(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    write_annotated(ArrayVideo(frames, fps=25), LINES, tmp_path / "shown.gif")
    shown, times = read_all(tmp_path / "shown.gif")
    assert shown.shape == (10, 240, 320, 3)
    assert {round(later - earlier, 3) for earlier, later in pairwise(times)} == {0.1}
    light = shown[:, -40:].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(light, frames[np.array([0, 2, 5, 7, 10, 12, 15, 17, 20, 22]), 0, 0, 0], atol=6)


@pytest.mark.parametrize(
    ("size", "mp4", "gif"),
    [
        ((32, 48), (256, 384), (256, 384)),
        ((240, 321), (240, 320), (240, 320)),
        ((1080, 1920), (1080, 1920), (270, 480)),
        ((640, 100), (1920, 300), (480, 76)),
    ],
)
def test_small_videos_are_enlarged_and_gifs_are_small(
    size: tuple[int, int], mp4: tuple[int, int], gif: tuple[int, int]
) -> None:
    video = ArrayVideo(np.zeros((1, *size, 3), np.uint8))
    assert recognizing_video._size(video, None) == mp4
    assert recognizing_video._size(video, recognizing_video.GIF_SIDE) == gif


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920), (568, 320), (2160, 3840)])
def test_five_labels_fit_and_more_never_cover_the_lower_half(size: tuple[int, int]) -> None:
    five, thirty = (overlay([f"0.{number}00  shaking hands" for number in range(count)], size) for count in (5, 30))
    assert len(five) < len(thirty) <= size[0] / 2 + 8
    assert (five[..., 3] > 0).any(axis=0).sum() < size[1] * 0.8
    assert five.shape[1] == size[1]


def test_the_first_label_stands_out() -> None:
    drawn = overlay(["0.500  cartwheeling"] * 2, (480, 640)).astype(int)
    bright = ((drawn[..., :3].min(axis=2) > 200) & (drawn[..., 3] > 200)).sum(axis=1)
    upper, lower = bright[: len(bright) // 2].sum(), bright[len(bright) // 2 :].sum()
    assert upper > 1.2 * lower > 0


def test_long_names_and_other_scripts() -> None:
    drawn = overlay(["0.700  " + "very long name " * 20, "0.200  拔河 $x_1$"], (240, 320))
    assert not drawn[:, -4:, 3].any()


def test_a_long_video_is_read_in_pieces(
    frames: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizing_video, "MAX_HELD_BYTES", 7 * frames[0].nbytes)
    write_annotated(ArrayVideo(frames), LINES, tmp_path / "shown.mp4")
    shown, _ = read_all(tmp_path / "shown.mp4")
    np.testing.assert_allclose(shown[:, -1, -1, 0], frames[:, -1, -1, 0], atol=4)


def test_files_that_cannot_be(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got 'a\.avi'; it should end with \.mp4 or \.gif"):
        check_target(Path("a.avi"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"shown\.mp4: cannot be written .*; choose another --out"):
        write_annotated(ArrayVideo(frames), LINES, tmp_path / "file" / "shown.mp4")


def test_what_was_there_stays_until_the_new_one_is_whole(
    frames: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shown.mp4").write_text("earlier")

    def broken(*_: object) -> None:
        raise av.FFmpegError(22, "no")

    monkeypatch.setattr(recognizing_video, "write_mp4", broken)
    with pytest.raises(ResourceError):
        write_annotated(ArrayVideo(frames), LINES, tmp_path / "shown.mp4")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"shown.mp4": "earlier"}
