import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from kinoray.errors import ConfigError, DataError
from kinoray.video.sampling import AnySampling, ClipSampling, SamplingConfig, SegmentSampling
from kinoray.video.sampling_kinds import (
    DenseSampling,
    MomentSampling,
    StratifiedSampling,
    UniformSampling,
    WindowSampling,
)

ALL = [
    ClipSampling(clip_len=4, frame_interval=3, num_clips=2),
    SegmentSampling(num_segments=5),
    DenseSampling(clip_len=4, frame_interval=3, num_clips=2),
    UniformSampling(clip_len=5, num_clips=2),
    StratifiedSampling(clip_len=5, num_clips=2),
    WindowSampling(clip_len=4, frame_interval=3),
    MomentSampling(clip_len=4, frame_interval=3),
]
FIXED = [sampling for sampling in ALL if not sampling.num_clips_varies]


def rng(seed=0):
    return np.random.default_rng(seed)


def even_times(num_frames, fps):
    return np.arange(num_frames) / fps


@pytest.mark.parametrize("sampling", ALL, ids=lambda sampling: sampling.kind)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 9, 10, 11, 12, 40, 333])
def test_indices_exist(sampling, num_frames):
    for generator in (None, *map(rng, range(20))):
        picked = sampling.indices(num_frames, 25.0, generator)
        assert picked.dtype == np.int64
        assert picked.ndim == 2
        assert picked.min() >= 0
        assert picked.max() < num_frames


@pytest.mark.parametrize("sampling", FIXED, ids=lambda sampling: sampling.kind)
def test_shape_is_that_of_every_video(sampling):
    for num_frames in (1, 7, 500):
        assert sampling.indices(num_frames, 25.0, None).shape == sampling.shape(is_training=False)
        assert sampling.indices(num_frames, 25.0, rng()).shape == sampling.shape(is_training=True)


def test_shape_of_twice_is_doubled_in_tests_only():
    for sampling in (ClipSampling(clip_len=4, num_clips=3, twice=True), SegmentSampling(num_segments=4, twice=True)):
        num_clips, clip_len = sampling.shape(is_training=True)
        assert sampling.shape(is_training=False) == (2 * num_clips, clip_len)


def test_shape_of_windows_depends_on_the_video():
    with pytest.raises(ConfigError, match="got 'windows'; to train and to evaluate, 'clips'"):
        WindowSampling(clip_len=4).shape(is_training=False)


def test_shape_of_a_late_moment_needs_no_video_that_long():
    assert MomentSampling(clip_len=4, at_seconds=5_000.0).shape(is_training=False) == (1, 4)


@pytest.mark.parametrize("sampling", ALL, ids=lambda sampling: sampling.kind)
def test_same_generator_same_indices(sampling):
    first, again, other = (sampling.indices(300, 30.0, rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() == (sampling.kind != "windows")


@pytest.mark.parametrize("sampling", ALL, ids=lambda sampling: sampling.kind)
@pytest.mark.parametrize("generator", [None, rng()])
def test_no_frames_is_an_error(sampling, generator):
    with pytest.raises(DataError, match="0 frames"):
        sampling.indices(0, 30.0, generator)
    with pytest.raises(DataError, match="0 frames"):
        sampling.pick(np.empty(0), 30.0, generator)


@pytest.mark.parametrize("sampling", ALL, ids=lambda sampling: sampling.kind)
@pytest.mark.parametrize("fps", [23.976, 25.0, 30_000 / 1001, 60.0])
def test_at_a_constant_rate_seconds_are_frames(sampling, fps):
    """From any first frame on, and where the file rounds its times to milliseconds."""
    by_time = sampling.model_copy(update={"per": "seconds"})
    for first, num_frames in [(0, 1), (0, 300), (77, 223)]:
        exact = even_times(300, fps)[first : first + num_frames]
        for pts_seconds in (exact, exact.round(3)):
            expected = sampling.indices(num_frames, fps, rng())
            np.testing.assert_array_equal(sampling.pick(pts_seconds, fps, rng()), expected)
            np.testing.assert_array_equal(by_time.pick(pts_seconds, fps, rng()), expected)


def test_by_time_each_second_has_its_share_of_clips():
    """Two seconds at 30 fps, then two at 5: by frames nearly all lies in the first half, by time half of it does."""
    pts_seconds = np.concatenate([np.arange(60) / 30, 2 + np.arange(10) / 5])
    fps = len(pts_seconds) / 4
    by_frame = SegmentSampling(num_segments=8).pick(pts_seconds, fps, None)
    by_time = SegmentSampling(num_segments=8, per="seconds").pick(pts_seconds, fps, None)
    assert (pts_seconds[by_frame[0]] < 2).sum() == 7
    assert (pts_seconds[by_time[0]] < 2).sum() == 4
    np.testing.assert_allclose(pts_seconds[by_time[0]], 0.25 + np.arange(8) / 2, atol=0.2 + 1 / fps)


def test_by_time_a_clip_of_a_slow_video_repeats_frames():
    """Clips of 30 fps from a video of 10: every third tick has a new frame."""
    sampling = ClipSampling(clip_len=6, per="seconds", target_fps=30)
    assert sampling.pick(even_times(50, 10.0), 10.0, None).tolist() == [[24, 24, 24, 25, 25, 25]]


def test_by_time_a_clip_of_a_fast_video_skips_frames():
    sampling = ClipSampling(clip_len=4, frame_interval=2, per="seconds", target_fps=15)
    assert sampling.pick(even_times(61, 60.0), 60.0, None).tolist() == [[16, 24, 32, 40]]  # ticks 4, 6, 8, 10 of 15


def test_by_frame_a_target_rate_stretches_the_clip():
    """16 frames of a video at 60 fps last as long as 8 at 30; the clip's are spread evenly over them."""
    sampling = ClipSampling(clip_len=4, frame_interval=2, target_fps=30)
    assert sampling.indices(100, 60.0, None).tolist() == [[42, 47, 52, 57]]
    starts = [int(sampling.indices(100, 60.0, rng(seed))[0, 0]) for seed in range(400)]
    assert (min(starts), max(starts)) == (0, 84)


def test_keyframes_replace_the_frames_beside_them():
    keyframes = np.array([0, 10, 50])
    plain = SegmentSampling(num_segments=6)
    rough = SegmentSampling(num_segments=6, at_keyframes=True)
    pts_seconds = even_times(60, 30.0)
    assert plain.pick(pts_seconds, 30.0, None, keyframes).tolist() == [[5, 15, 25, 35, 45, 55]]
    assert rough.pick(pts_seconds, 30.0, None, keyframes).tolist() == [[0, 10, 10, 50, 50, 50]]


def test_keyframes_outside_the_segment_are_not_taken():
    rough = SegmentSampling(num_segments=3, at_keyframes=True)
    pts_seconds = even_times(30, 30.0)
    assert rough.pick(pts_seconds, 30.0, None, np.array([-3, 12, 31])).tolist() == [[12, 12, 12]]
    assert rough.pick(pts_seconds, 30.0, None, np.array([-3, 30])).tolist() == [[5, 15, 25]]


def test_keyframes_have_to_be_known():
    with pytest.raises(DataError, match="keyframes are unknown"):
        SegmentSampling(num_segments=3, at_keyframes=True).pick(even_times(30, 30.0), 30.0, None)


def test_training_draws_each_start_equally_often():
    sampling = ClipSampling(clip_len=7, frame_interval=3, num_clips=4)
    generator = rng()
    starts = np.stack([sampling.indices(100, 30.0, generator)[:, 0] for _ in range(4000)])
    for clip in range(4):
        values, counts = np.unique(starts[:, clip], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(20) + 20 * clip)
        assert abs(counts - 200).max() < 75


def test_kept_tail_lets_the_last_clip_end_with_the_video():
    """19 starts for 4 clips: whole intervals of 4 leave out the last three starts, intervals of 4.75 do not."""
    cut = ClipSampling(clip_len=8, num_clips=4)
    kept = ClipSampling(clip_len=8, num_clips=4, keep_tail=True)
    last = [[int(which.indices(26, 30.0, rng(seed)).max()) for seed in range(300)] for which in (cut, kept)]
    assert [max(frames) for frames in last] == [15 + 7, 18 + 7]
    assert not kept.indices(5, 30.0, rng())[:, 0].any()


def test_jitter_moves_each_frame_in_training_only():
    still = ClipSampling(clip_len=6, frame_interval=5, num_clips=2)
    moved = still.model_copy(update={"jitter": True})
    np.testing.assert_array_equal(moved.indices(200, 30.0, None), still.indices(200, 30.0, None))
    by = np.stack([moved.indices(200, 30.0, rng(s)) - still.indices(200, 30.0, rng(s)) for s in range(100)])
    assert set(by.ravel().tolist()) == {0, 1, 2, 3, 4}
    assert (by != by[:, :, :1]).any()


def test_the_interval_is_drawn_from_its_range_in_training_only():
    sampling = ClipSampling(clip_len=3, frame_interval=2, max_frame_interval=4, num_clips=2)
    drawn = [np.diff(sampling.indices(100, 25.0, rng(seed)), axis=1) for seed in range(300)]
    assert all(len(np.unique(steps)) == 1 for steps in drawn)
    counts = np.bincount([steps[0, 0] for steps in drawn])
    assert len(counts) == 5
    assert counts[2:].min() > 75
    fixed = ClipSampling(clip_len=3, frame_interval=2, num_clips=2)
    np.testing.assert_array_equal(sampling.indices(100, 25.0, None), fixed.indices(100, 25.0, None))
    with pytest.raises(ValidationError, match=r"max_frame_interval, got 2; it should be at least frame_interval \(3\)"):
        ClipSampling(clip_len=3, frame_interval=3, max_frame_interval=2)


def test_a_drawn_interval_leaves_room_for_its_clip():
    sampling = ClipSampling(clip_len=5, frame_interval=1, max_frame_interval=4)
    for seed in range(200):
        indices = sampling.indices(20, 25.0, rng(seed))[0]
        assert (np.diff(indices) > 0).all()


def test_segments_in_tests_are_the_middles_and_twice_adds_the_firsts():
    assert SegmentSampling(num_segments=4).indices(40, 30.0, None).tolist() == [[5, 15, 25, 35]]
    twice = SegmentSampling(num_segments=4, twice=True).indices(40, 30.0, None)
    assert twice.tolist() == [[5, 15, 25, 35], [0, 10, 20, 30]]


def test_segments_take_one_frame_of_each_segment():
    draws = [SegmentSampling(num_segments=5).indices(50, 30.0, rng(seed)) for seed in range(200)]
    assert {draw.shape for draw in draws} == {(1, 5)}
    assert all((draw[0] // 10 == np.arange(5)).all() for draw in draws)
    assert {int(draw[0, 0]) for draw in draws} == set(range(10))


def test_fewer_frames_than_segments_are_spread_evenly():
    picked = SegmentSampling(num_segments=8).indices(4, 30.0, rng())
    assert picked.tolist() == [[0, 0, 1, 2, 2, 2, 3, 0]]  # rounded to even, and past the end it starts over


def test_kinds():
    picked = TypeAdapter(AnySampling)
    assert picked.validate_python({"clip_len": 4}) == ClipSampling(clip_len=4)
    for sampling in ALL:
        assert isinstance(sampling, SamplingConfig)
        assert picked.validate_python(sampling.model_dump()) == sampling
    with pytest.raises(ValidationError, match="no sampling"):
        picked.validate_python({"kind": "haphazard"})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"clip_len": 0}, "greater than 0"),
        ({"clip_len": 4, "num_clips": 0}, "greater than 0"),
        ({"clip_len": 4, "frame_interval": 0}, "greater than 0"),
        ({"clip_len": 4, "target_fps": 0}, "greater than 0"),
        ({"clip_len": 4, "per": "hours"}, "'frames' or 'seconds'"),
        ({"kind": "dense", "clip_len": 4, "target_fps": 30}, "kind 'dense' needs per: seconds"),
        ({"kind": "segments"}, "Field required"),
        ({"kind": "windows", "clip_len": 4, "edges": "wrap"}, "'inside' or 'repeat'"),
        ({"kind": "windows", "clip_len": 4, "stride": 0}, "greater than 0"),
        ({"kind": "moment", "clip_len": 4, "at_seconds": -1}, "greater than or equal to 0"),
        ({"kind": "uniform", "clip_len": 4, "frame_interval": 2}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_told(bad, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnySampling).validate_python(bad)
