import numpy as np
import pytest

from kinoray.errors import DataError
from kinoray.video.sampling_kinds import (
    DenseSampling,
    MomentSampling,
    StratifiedSampling,
    UniformSampling,
    WindowSampling,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_dense_clips_start_anywhere_in_training_and_are_spread_in_tests():
    sampling = DenseSampling(clip_len=8, frame_interval=8, num_clips=3)
    assert sampling.indices(164, 25.0, None)[:, 0].tolist() == [0, 50, 100]
    starts = {int(start) for seed in range(400) for start in sampling.indices(164, 25.0, rng(seed))[:, 0]}
    assert starts == set(range(100))
    assert (np.diff(sampling.indices(164, 25.0, rng())) == 8).all()


def test_dense_clips_of_a_short_video_start_at_its_first_frame():
    loop = DenseSampling(clip_len=4, frame_interval=10)
    repeat = DenseSampling(clip_len=4, frame_interval=10, out_of_bound="repeat_last")
    assert loop.indices(25, 25.0, rng()).tolist() == [[0, 10, 20, 5]]
    assert repeat.indices(25, 25.0, None).tolist() == [[0, 10, 20, 20]]


def test_uniform_frames_lie_in_their_parts():
    sampling = UniformSampling(clip_len=4, num_clips=2)
    draws = np.stack([sampling.indices(41, 25.0, rng(seed)) for seed in range(300)])
    for part in range(4):
        assert set(draws[:, :, part].ravel().tolist()) == set(range(10 * part, 10 * part + 11))
    assert (draws[:, 0] != draws[:, 1]).any()
    assert sampling.indices(41, 25.0, None).tolist() == [[3, 13, 23, 33], [6, 16, 26, 36]]


@pytest.mark.parametrize("num_frames", [12, 17, 23, 24, 100])
def test_stratified_frames_rise_and_no_two_are_the_same(num_frames):
    sampling = StratifiedSampling(clip_len=12, num_clips=3)
    for generator in (None, rng(1), rng(2)):
        assert (np.diff(sampling.indices(num_frames, 25.0, generator)) > 0).all()


def test_stratified_frames_in_tests_depend_on_the_seed_alone():
    sampling, other = StratifiedSampling(clip_len=12), StratifiedSampling(clip_len=12, test_seed=1)
    first, again = (sampling.indices(100, 25.0, None) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != other.indices(100, 25.0, None)).any()


def test_stratified_frames_of_a_short_video_start_over():
    sampling = StratifiedSampling(clip_len=6, num_clips=2)
    assert sampling.indices(4, 25.0, None).tolist() == [[0, 1, 2, 3, 0, 1], [2, 3, 0, 1, 2, 3]]
    starts = {int(start) for seed in range(100) for start in sampling.indices(4, 25.0, rng(seed))[:, 0]}
    assert starts == {0, 1, 2, 3}


def test_windows_cover_the_video_to_its_last_frame():
    sampling = WindowSampling(clip_len=3, frame_interval=2)
    assert sampling.indices(10, 25.0, None).tolist() == [[0, 2, 4], [5, 7, 9]]
    assert sampling.indices(11, 25.0, rng()).tolist() == [[0, 2, 4], [5, 7, 9], [6, 8, 10]]
    assert sampling.indices(3, 25.0, None).tolist() == [[0, 2, 2]]


@pytest.mark.parametrize("num_frames", [5, 6, 99, 100, 101])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_windows_without_gaps_show_every_frame(num_frames, stride):
    windows = WindowSampling(clip_len=5, stride=stride).indices(num_frames, 25.0, None)
    assert set(windows.ravel().tolist()) == set(range(num_frames))
    assert (np.diff(windows, axis=1) == 1).all()
    assert (np.diff(windows[:-1, 0]) == stride).all()
    assert (np.diff(windows[:, 0]) > 0).all()


def test_windows_past_the_limit_are_thinned_evenly():
    sampling = WindowSampling(clip_len=2, max_clips=3)
    assert sampling.indices(18, 25.0, None)[:, 0].tolist() == [0, 8, 16]


def test_windows_around_centres_repeat_the_edges():
    sampling = WindowSampling(clip_len=4, frame_interval=2, stride=6, edges="repeat")
    assert sampling.indices(11, 25.0, None).tolist() == [[0, 1, 3, 5], [5, 7, 9, 10]]
    assert sampling.indices(3, 25.0, None).tolist() == [[0, 0, 1, 2]]


def test_windows_by_time_are_as_many_as_the_video_has_seconds_for():
    sampling = WindowSampling(clip_len=10, per="seconds", target_fps=10)
    slow = sampling.pick(np.arange(30) / 5, 5.0, None)
    fast = sampling.pick(np.arange(300) / 50, 50.0, None)
    assert len(slow) == len(fast) == 6
    assert slow[1].tolist() == [5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    assert fast[1].tolist() == list(range(50, 100, 5))


def test_moment_is_in_the_clips_second_half():
    sampling = MomentSampling(clip_len=4, frame_interval=10, at_seconds=2.0)
    assert sampling.indices(1000, 25.0, None).tolist() == [[30, 40, 50, 60]]
    assert sampling.indices(55, 25.0, None).tolist() == [[30, 40, 50, 54]]
    assert MomentSampling(clip_len=3, frame_interval=1).indices(11, 25.0, None).tolist() == [[4, 5, 6]]


def test_moment_is_the_frame_that_is_shown_then():
    """0.667 seconds is the rounded time of frame 20 at 30 fps; 0.66 is still frame 19."""
    for at_seconds, frame in [(0.667, 20), (0.66, 19), (0.0, 0)]:
        assert MomentSampling(clip_len=1, at_seconds=at_seconds).indices(60, 30.0, None).tolist() == [[frame]]


def test_moment_by_time_is_right_at_a_variable_rate():
    pts_seconds = np.concatenate([np.arange(10) / 10, 1 + np.arange(40) / 40])
    sampling = MomentSampling(clip_len=1, at_seconds=1.5, per="seconds")
    assert sampling.pick(pts_seconds, 25.0, None).tolist() == [[29]]  # the timeline's tick at 1.48 seconds
    assert MomentSampling(clip_len=1, at_seconds=1.5).pick(pts_seconds, 25.0, None).tolist() == [[37]]


def test_frames_around_a_moment_move_in_training():
    sampling = MomentSampling(clip_len=3, frame_interval=6, at_seconds=2.0)
    centre = sampling.indices(200, 25.0, None)
    moved = np.stack([sampling.indices(200, 25.0, rng(seed)) - centre for seed in range(200)])
    assert set(moved.ravel().tolist()) == {-3, -2, -1, 0, 1, 2}


def test_a_moment_after_the_end_is_an_error():
    with pytest.raises(DataError, match="got at_seconds 905; it lasts 10"):
        MomentSampling(clip_len=4, at_seconds=905).indices(300, 30.0, None)
