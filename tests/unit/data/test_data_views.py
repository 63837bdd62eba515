from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from kinoray.data.views import EvalView, TrainView, flip_indices, sampling_shape, segment_frames
from kinoray.errors import DataError
from kinoray.video.decode import VideoReader
from kinoray.video.sampling import ClipSampling, SegmentSampling

CLIP = ClipSampling(clip_len=4, frame_interval=3)
WHOLE = {"scale": (1.0, 1.0), "ratio": (4 / 3, 4 / 3)}


@pytest.fixture
def reader(video):
    with VideoReader(video) as reader:
        yield reader


def read(view, reader, clip_seed=0, segment=None):
    clip, mirrored = view.read(reader, range(reader.num_frames) if segment is None else segment, clip_seed)
    assert clip.shape == view.clip_shape()
    assert clip.dtype == np.uint8
    assert clip.flags.c_contiguous
    return clip, mirrored


@pytest.mark.parametrize("sampling", [CLIP, SegmentSampling(num_segments=5), ClipSampling(clip_len=2, num_clips=3)])
def test_a_training_view_reads_the_frames_that_its_sampling_draws(reader, indices_of, sampling):
    view = TrainView(sampling=sampling, crop=16, flip=0, **WHOLE)
    seen = set()
    for seed in range(8):
        clip, _ = read(view, reader, seed)
        indices = indices_of(clip)
        assert indices.shape == sampling_shape(sampling)
        assert (np.diff(indices, axis=1) >= 0).all()
        if sampling is CLIP:
            assert (np.diff(indices) == 3).all()
        seen.add(tuple(indices.ravel()))
    assert len(seen) > 5


def test_a_segment_bounds_what_is_drawn(reader, indices_of):
    view = TrainView(sampling=CLIP, crop=16, **WHOLE)
    drawn = {tuple(indices_of(read(view, reader, seed, range(20, 33))[0])[0]) for seed in range(12)}
    assert drawn == {(20, 23, 26, 29), (21, 24, 27, 30)}


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_mirrored_clip_says_so(reader, brighter_side, flip):
    view = TrainView(sampling=CLIP, crop=16, flip=flip, **WHOLE)
    for seed in range(10):
        clip, mirrored = read(view, reader, seed)
        assert mirrored == bool(flip)
        assert brighter_side(clip) == ("right" if flip else "left")


def test_about_half_of_the_clips_are_mirrored(reader):
    view = TrainView(sampling=ClipSampling(clip_len=1), crop=8)
    assert 30 < sum(read(view, reader, seed)[1] for seed in range(100)) < 70


def test_the_seed_decides_everything(reader, video):
    view = TrainView(sampling=CLIP, crop=24)
    clips = {}
    for seed in (0, 1, 2**64 - 1):
        clip, mirrored = read(view, reader, seed)
        with VideoReader(video) as other:
            again, mirrored_again = read(view, other, seed)
        np.testing.assert_array_equal(clip, again)
        assert mirrored == mirrored_again
        clips[clip.tobytes()] = seed
    assert len(clips) == 3


def test_the_flip_changes_no_other_draw(reader):
    plain, mirrored = (read(TrainView(sampling=CLIP, crop=24, flip=flip), reader, 5)[0] for flip in (0, 1))
    np.testing.assert_array_equal(plain, mirrored[:, :, :, ::-1])


def test_evaluation_reads_fixed_frames_and_the_centre(reader, indices_of, brighter_side):
    view = EvalView(sampling=ClipSampling(clip_len=3, frame_interval=2, num_clips=2), crop=48, resize=48)
    clip, mirrored = read(view, reader, clip_seed=7)
    np.testing.assert_array_equal(indices_of(clip), [[0, 2, 4], [35, 37, 39]])
    assert (mirrored, brighter_side(clip)) == (False, "left")
    np.testing.assert_array_equal(clip, read(view, reader, clip_seed=8)[0])
    whole = reader.read([0]).data
    np.testing.assert_array_equal(clip[0, 0], whole[0, :, 8:56])


def test_evaluation_stays_in_its_segment(reader, indices_of):
    view = EvalView(sampling=ClipSampling(clip_len=3, num_clips=2), crop=48, resize=48)
    np.testing.assert_array_equal(
        indices_of(read(view, reader, segment=range(10, 20))[0]), [[10, 11, 12], [17, 18, 19]]
    )


def test_crops_of_one_clip_stand_together(reader, indices_of):
    """Views are clips x crops with clips outermost: the crops of the first clip come first."""
    view = EvalView(sampling=ClipSampling(clip_len=2, num_clips=3), crop=48, num_crops=3)
    clips, _ = read(view, reader)
    assert indices_of(clips)[:, 0].tolist() == [0, 0, 0, 19, 19, 19, 38, 38, 38]
    whole = reader.read([0, 19, 38]).data
    for number, picture in enumerate(whole):
        for crop, left in enumerate((0, 8, 16)):
            np.testing.assert_array_equal(clips[3 * number + crop, 0], picture[:, left : left + 48])


def test_crops_of_a_tall_video_stand_above_each_other(write_video, tmp_path):
    with VideoReader(write_video(tmp_path / "tall.mp4", 2, size=(80, 48))) as reader:
        clips, _ = read(EvalView(sampling=ClipSampling(clip_len=1), crop=48, num_crops=3), reader)
        whole = reader.read([1]).data[0]
    for crop, top in enumerate((0, 16, 32)):
        np.testing.assert_array_equal(clips[crop, 0], whole[top : top + 48])


@pytest.mark.parametrize(
    ("view", "short_side"),
    [
        ({"crop": 224}, 256),
        ({"crop": 112}, 128),
        ({"crop": 256, "num_crops": 3}, 256),
        ({"crop": 224, "resize": 224}, 224),
        ({"crop": 224, "resize": 320, "num_crops": 3}, 320),
    ],
)
def test_the_short_side_before_cropping(view, short_side):
    assert EvalView(sampling=CLIP, **view).short_side() == short_side


@pytest.mark.parametrize(
    ("view", "settings", "told"),
    [
        (EvalView, {"resize": 200}, "resize, got 200; it should be at least crop (224)"),
        (
            TrainView,
            {"scale": (0.5, 1.5)},
            r"scale, got [0.5, 1.5]; it should be [low, high], both above 0 and up to 1",
        ),
        (TrainView, {"scale": (0.9, 0.5)}, r"scale, got [0.9, 0.5]; it should be [low, high]"),
        (TrainView, {"ratio": (0.0, 2.0)}, r"ratio, got [0, 2]; it should be [low, high], both above 0"),
    ],
)
def test_impossible_views(view, settings, told):
    with pytest.raises(ValidationError) as caught:
        view(sampling=CLIP, crop=224, **settings)
    assert told in str(caught.value)


def test_ratios_may_be_above_one():
    assert TrainView(sampling=CLIP, crop=224, ratio=(1.5, 3.0)).ratio == (1.5, 3.0)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (None, None, 0, 39),
        (0.4, None, 10, 39),
        (None, 0.4, 0, 9),
        (0.4, 0.8, 10, 19),
        (0.36, 0.36 + 0.04, 9, 9),
        (0.39, 0.41, 10, 10),
        (0.41, 0.43, 10, 10),
        (-3.0, -1.0, 0, 0),
        (1.0, 99.0, 25, 39),
        (1.59, 1.7, 39, 39),
    ],
)
def test_frames_of_a_segment(reader, start, end, first, last):
    assert segment_frames(reader, start, end) == range(first, last + 1)


@pytest.mark.parametrize("start", [1.6, 50.0])
def test_a_segment_after_the_end_is_an_error(reader, start):
    with pytest.raises(DataError) as caught:
        segment_frames(reader, start, None)
    assert str(caught.value) == (
        f"{reader.name}: a segment that starts at {start:g} seconds, got a video of 1.6; correct start_seconds"
    )


def test_times_rounded_to_milliseconds_name_their_frames():
    thirds = SimpleNamespace(pts_seconds=np.arange(90) / 30, fps=30.0, num_frames=90, name="thirds")
    for first in range(80):
        start, end = round(first / 30, 3), round((first + 5) / 30, 3)
        assert segment_frames(thirds, start, end) == range(first, first + 5)


def test_labels_of_a_mirror():
    classes = ("left", "jump", "right")
    assert flip_indices({"left": "right", "right": "left"}, classes) == (2, 1, 0)
    assert flip_indices({}, classes) == (0, 1, 2)
