import numpy as np
import pytest

from kinoray.errors import DataError
from kinoray.video.sampling_math import (
    nearest_keyframes,
    place_clips,
    random_offsets,
    spread,
    spread_offsets,
    timeline_indices,
    window_offsets,
)


@pytest.mark.parametrize(
    ("num_frames", "span", "num_clips", "allowed"),
    [
        (10, 8, 5, {0, 1, 2}),  # fewer starts than clips, longer than a clip: free draws
        (8, 8, 3, {0, 1}),  # exactly one start: spread evenly, rounded
        (9, 8, 9, {0, 1, 2}),  # no more frames than clips: spread evenly
        (5, 8, 3, {0}),  # shorter than a clip
    ],
)
def test_random_offsets_of_short_videos(num_frames, span, num_clips, allowed):
    draws = [random_offsets(num_frames, span, num_clips, np.random.default_rng(seed)) for seed in range(50)]
    assert {int(start) for draw in draws for start in draw} == allowed
    assert all((np.diff(draw) >= 0).all() for draw in draws)


def test_one_clip_twice_is_the_centre_twice():
    assert spread_offsets(30, 10, 1, twice=True).tolist() == [10, 10]


def test_whole_steps_end_before_the_last_start():
    assert spread_offsets(63, 32, 5).tolist() == [0, 8, 16, 23, 31]
    assert spread_offsets(63, 32, 5, whole_steps=True).tolist() == [0, 7, 14, 21, 28]


def test_past_the_end():
    starts, steps = np.array([3, 9]), np.arange(4) * 3
    assert place_clips(starts, steps, 10, "loop").tolist() == [[3, 6, 9, 2], [9, 2, 5, 8]]
    assert place_clips(starts, steps, 10, "repeat_last").tolist() == [[3, 6, 9, 9], [9, 9, 9, 9]]


def test_the_last_window_is_not_counted_twice():
    assert window_offsets(12, 4, 4).tolist() == [0, 4, 8]
    assert window_offsets(13, 4, 4).tolist() == [0, 4, 8, 9]


@pytest.mark.parametrize(("fps", "target_fps"), [(30.0, 10.0), (30.0, 15.0), (25.0, 100.0), (30_000 / 1001, 30.0)])
def test_timeline_shows_what_is_on_the_screen_at_each_tick(fps, target_fps):
    pts_seconds = 3.5 + np.arange(200) / fps
    ticks = timeline_indices(pts_seconds, fps, target_fps)
    assert len(ticks) == round(200 / fps * target_fps)
    seconds = 3.5 + np.arange(len(ticks)) / target_fps
    assert (pts_seconds[ticks] <= seconds + 0.001).all()
    assert (pts_seconds[ticks] + 1 / fps >= seconds).all()
    assert (np.diff(ticks) >= 0).all()


def test_timeline_holds_a_frame_that_lasts():
    assert timeline_indices(np.array([0.0, 0.1, 0.5, 0.6]), 10.0, 10.0).tolist() == [0, 1, 1, 1, 1, 2, 3]


def test_timeline_of_one_frame_has_a_tick():
    assert timeline_indices(np.array([7.0]), 30.0, 5.0).tolist() == [0]


def test_timeline_of_a_damaged_file_is_refused():
    with pytest.raises(DataError, match="got 1e\\+12 seconds at 30 per second; sample such a video per: frames"):
        timeline_indices(np.array([0.0, 0.1, 1e12]), 30.0, 30.0)


def test_nearest_keyframe_of_two_is_the_earlier():
    assert nearest_keyframes(np.array([[0, 5], [6, 99]]), np.array([0, 10]), 100).tolist() == [[0, 0], [10, 10]]


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    assert spread(32, 6).tolist() == [0, 6, 12, 19, 25, 31]
    assert spread(3, 6).tolist() == [0, 1, 2]
