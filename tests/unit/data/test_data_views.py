from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from kinoray.data.planes import split_planes
from kinoray.data.views import EvalView, TrainView, flip_indices, segment_frames
from kinoray.errors import DataError
from kinoray.transforms.boxes import crop_offsets, short_side_size
from kinoray.transforms.crop_boxes import RandomResizedBox
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.sampling import ClipSampling, SegmentSampling
from kinoray.video.sampling_kinds import WindowSampling

CLIP = ClipSampling(clip_len=4, frame_interval=3)
WINDOWS = WindowSampling(clip_len=4)
WHOLE = {"box": RandomResizedBox(scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3))}


@pytest.fixture
def reader(video):
    with VideoReader(video) as reader:
        yield reader


def read(view, reader, clip_seed=0, segment=None, *, one_mirror=False):
    segment = range(reader.num_frames) if segment is None else segment
    views = view.read(reader, segment, clip_seed, one_mirror=one_mirror)
    assert views.clip.shape == view.clip_shape()
    assert views.clip.dtype == np.uint8
    assert views.clip.flags.c_contiguous
    place = np.full(view.clip_shape(), 77, np.uint8)
    assert view.read(reader, segment, clip_seed, place, one_mirror=one_mirror).clip is place
    np.testing.assert_array_equal(place, views.clip)
    return views.clip, views.is_mirrored


def luma(planes):
    """``(..., 3 * H / 2, W)`` -> ``(..., H, W, 1)``."""
    *_, rows, width = planes.shape
    return split_planes(planes.reshape(*planes.shape[:-2], -1), rows * 2 // 3, width)[0][..., None]


@pytest.mark.parametrize("sampling", [CLIP, SegmentSampling(num_segments=5), ClipSampling(clip_len=2, num_clips=3)])
def test_a_training_view_reads_the_frames_that_its_sampling_draws(reader, indices_of, sampling):
    view = TrainView(sampling=sampling, crop=16, flip=0, **WHOLE)
    seen = set()
    for seed in range(8):
        clip, _ = read(view, reader, seed)
        indices = indices_of(clip)
        assert indices.shape == sampling.shape(is_training=True)
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


@pytest.mark.parametrize("pixels", ["rgb", "yuv420"])
@pytest.mark.parametrize("sampling", [CLIP, ClipSampling(clip_len=2, num_clips=3)])
def test_repeats_are_drawn_one_after_the_other(reader, pixels, sampling):
    """The first is what the seed stands for without repeats; each has a clip, a box and a mirror of its own."""
    once = TrainView(sampling=sampling, crop=24, pixels=pixels)
    often = once.model_copy(update={"repeats": 4})
    num_clips = once.clip_shape()[0]
    for seed in range(5):
        clip, mirrored = read(once, reader, seed)
        repeats, first_mirrored = read(often, reader, seed)
        assert (len(repeats), first_mirrored) == (4 * num_clips, mirrored)
        np.testing.assert_array_equal(repeats[:num_clips], clip)
        shots = often.shots(reader, range(reader.num_frames), seed)
        assert len({shot.crop for shot in shots}) == 4
        assert len({tuple(shot.indices) for shot in shots}) > 1
        for number, shot in enumerate(shots):
            alone = (reader.read_shots if pixels == "rgb" else reader.read_planes)([shot])[0].data
            np.testing.assert_array_equal(repeats[num_clips * number :][:num_clips].ravel(), alone.ravel())
    mirrors = [[shot.mirror for shot in often.shots(reader, range(40), seed)] for seed in range(20)]
    assert {len(set(four)) for four in mirrors} == {1, 2}


def test_repeats_are_read_in_one_pass(reader, monkeypatch):
    passes = []
    read_shots = reader.read_shots
    monkeypatch.setattr(reader, "read_shots", lambda shots: passes.append(len(shots)) or read_shots(shots))
    TrainView(sampling=CLIP, crop=24, repeats=3).read(reader, range(40), 0)
    assert passes == [3]


def test_one_mirror_is_that_of_the_first_repeat(reader, brighter_side):
    view = TrainView(sampling=CLIP, crop=16, repeats=4, **WHOLE)
    seen = set()
    for seed in range(12):
        free, mirrored = read(view, reader, seed)
        bound, mirrored_alike = read(view, reader, seed, one_mirror=True)
        assert mirrored_alike == mirrored
        np.testing.assert_array_equal(bound[0], free[0])
        assert {brighter_side(clip) for clip in bound} == {"right" if mirrored else "left"}
        seen.add(mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_planes_are_the_same_view(reader, indices_of, brighter_side, flip):
    rgb = TrainView(sampling=CLIP, crop=16, flip=flip, **WHOLE)
    planes = rgb.model_copy(update={"pixels": "yuv420"})
    assert planes.clip_shape() == (1, 4, 24, 16)
    for seed in range(5):
        clip, mirrored = read(planes, reader, seed)
        assert mirrored == bool(flip)
        assert brighter_side(luma(clip)) == ("right" if flip else "left")
        # Luma is 16 and three levels a frame; the conversion to RGB that the indices are read from stretches it.
        found = (luma(clip)[..., 8, [0, -1], 0].min(axis=-1) - 16.0) / 3
        np.testing.assert_allclose(found, indices_of(read(rgb, reader, seed)[0]), atol=0.4)
        assert (np.unique(clip.reshape(1, 4, -1)[..., 16 * 16 :]) == [128]).all()  # there is no colour in it


def test_keyframes_alone_are_read_where_they_are_asked_for(reader, indices_of):
    sampling = ClipSampling(clip_len=3, frame_interval=12, at_keyframes=True)
    view = TrainView(sampling=sampling, crop=16, **WHOLE)
    drawn = {tuple(indices_of(read(view, reader, seed)[0])[0]) for seed in range(8)}
    assert drawn <= {(0, 12, 24), (12, 24, 36)}
    fixed = EvalView(sampling=sampling.model_copy(update={"frame_interval": 6}), crop=48, resize=48)
    assert set(indices_of(read(fixed, reader, segment=range(11, 30))[0]).ravel()) == {12, 24}


def test_a_timeline_in_seconds_is_that_of_the_segment(reader, indices_of):
    sampling = ClipSampling(clip_len=3, per="seconds", target_fps=5.0)
    view = EvalView(sampling=sampling, crop=48, resize=48)
    assert indices_of(read(view, reader, segment=range(10, 25))[0]).tolist() == [[10, 15, 20]]


def test_clips_of_training_are_as_many_as_their_sampling_draws():
    twice = ClipSampling(clip_len=4, num_clips=3, twice=True)
    assert TrainView(sampling=twice, crop=16, repeats=2).clip_shape() == (6, 4, 16, 16, 3)
    assert EvalView(sampling=twice, crop=16).clip_shape() == (6, 4, 16, 16, 3)


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


def test_ten_crops_are_corners_and_centre_and_their_mirrors(reader):
    view = EvalView(sampling=ClipSampling(clip_len=2), crop=40, resize=48, num_crops=10)
    clips, is_mirrored = read(view, reader)
    assert clips.shape == view.clip_shape() == (10, 2, 40, 40, 3)
    assert not is_mirrored
    whole = reader.read([19, 20]).data
    for number, (top, left) in enumerate([(0, 0), (0, 24), (8, 0), (8, 24), (4, 12)]):
        crop = whole[:, top : top + 40, left : left + 40]
        np.testing.assert_array_equal(clips[number], crop)
        np.testing.assert_array_equal(clips[number + 5], crop[:, :, ::-1])


@pytest.mark.parametrize("num_crops", [1, 3])
@pytest.mark.parametrize("size", [(48, 64), (80, 48), (46, 60)])  # becomes 46 x 61, 77 x 46, 46 x 60
def test_crops_of_planes_start_at_even_pixels(write_video, tmp_path, size, num_crops):
    sampling = ClipSampling(clip_len=2, num_clips=2)
    rgb = EvalView(sampling=sampling, crop=24, resize=46, num_crops=num_crops)
    with VideoReader(write_video(tmp_path / "crops.mp4", 4, size=size)) as reader:
        planes, _ = read(rgb.model_copy(update={"pixels": "yuv420"}), reader)
        resized = short_side_size(reader.height, reader.width, 46)
        (whole,) = reader.read_planes([Shot(np.array([0, 1, 2, 3]), size=resized)])
    y, u, v = split_planes(whole.data, *resized)
    got = split_planes(planes.reshape(len(planes), 2, -1), 24, 24)
    for number, (top, left) in enumerate(crop_offsets(*resized, 24, num_crops)):
        for crops, plane, grid in zip(got, (y, u, v), (1, 2, 2), strict=True):
            at = np.s_[:, top // 2 * 2 // grid :, left // 2 * 2 // grid :]
            window = plane[at][:, : 24 // grid, : 24 // grid]
            np.testing.assert_array_equal(crops[number::num_crops].reshape(4, *window.shape[1:]), window)


@pytest.mark.parametrize("pixels", ["rgb", "yuv420", "native"])
@pytest.mark.parametrize("num_crops", [1, 3, 10])
@pytest.mark.parametrize("size", [(8, 3000), (1600, 16)])
def test_a_long_picture_is_never_resized_as_a_whole(write_video, tmp_path, monkeypatch, size, num_crops, pixels):
    """At a short side of 46 this one would have 46 x 17,250 pixels, and there is no bound to it."""
    view = EvalView(sampling=CLIP, crop=40, resize=46, num_crops=num_crops, pixels=pixels)
    with VideoReader(write_video(tmp_path / "long.mp4", 12, size=size)) as reader:
        method = "read_shots" if pixels == "rgb" else "read_planes"
        seen, usual = [], getattr(reader, method)
        monkeypatch.setattr(reader, method, lambda shots: seen.extend(shots) or usual(shots))
        view.read(reader, range(12), out=np.empty(view.clip_shape(), np.uint8))
    assert len(seen) == (min(num_crops, 5) if pixels == "native" else num_crops)
    for shot in seen:
        height, width = shot.size or (shot.crop.height, shot.crop.width)
        assert height * width <= 2 * 40 * 40


@pytest.mark.parametrize("pixels", ["rgb", "yuv420"])
@pytest.mark.parametrize("num_crops", [3, 10])
def test_squares_of_a_long_picture_are_those_of_others(write_video, tmp_path, num_crops, pixels):
    """Where nothing is resized they are the same to the pixel, in the same order."""
    view = EvalView(sampling=ClipSampling(clip_len=2, num_clips=2), crop=32, resize=48, num_crops=num_crops)
    view = view.model_copy(update={"pixels": pixels})
    with VideoReader(write_video(tmp_path / "long.mp4", 6, size=(48, 208))) as reader:
        views = read(view, reader)[0].reshape(2, num_crops, 2, *view.clip_shape()[2:])
        (whole,) = reader.read_shots([Shot(np.array([0, 1, 4, 5]))])
    corners = crop_offsets(48, 208, 32, 3) if num_crops == 3 else [(0, 0), (0, 176), (16, 0), (16, 176), (8, 88)]
    for number, (top, left) in enumerate(corners):
        crops = whole.data[:, top : top + 32, left : left + 32].reshape(2, 2, 32, 32, 3)
        for shown, expected in ((number, crops), (number + 5, crops[..., ::-1, :]))[: 2 if num_crops == 10 else 1]:
            got = views[:, shown] if pixels == "rgb" else (luma(views[:, shown]).astype(float) - 16) * 255 / 219
            np.testing.assert_allclose(got, expected if pixels == "rgb" else expected[..., :1], atol=1.5)


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
            {"box": {"scale": (0.5, 1.5)}},
            r"scale, got [0.5, 1.5]; it should be [low, high], both above 0 and up to 1",
        ),
        (TrainView, {"crop": 111, "pixels": "yuv420"}, "crop, got 111 with pixels: yuv420; it should be even, 110 or"),
        (EvalView, {"crop": 113, "pixels": "yuv420"}, "crop, got 113 with pixels: yuv420; it should be even, 112 or"),
        (TrainView, {"sampling": WINDOWS}, "sampling, got kind 'windows', whose number of clips depends on the video"),
        (TrainView, {"box": {"scale": (0.9, 0.5)}}, r"scale, got [0.9, 0.5]; it should be [low, high]"),
        (TrainView, {"box": {"ratio": (0.0, 2.0)}}, r"ratio, got [0, 2]; it should be [low, high], both above 0"),
        (
            TrainView,
            {"box": {"kind": "rescaled", "short_side": (160, 200)}},
            "short_side, got 160 at least; it should be",
        ),
    ],
)
def test_impossible_views(view, settings, told):
    with pytest.raises(ValidationError) as caught:
        view(**({"sampling": CLIP, "crop": 224} | settings))
    assert told in str(caught.value)


def test_ratios_may_be_above_one():
    box = {"kind": "random_resized", "ratio": (1.5, 3.0)}
    assert TrainView(sampling=CLIP, crop=224, box=box).box == RandomResizedBox(ratio=(1.5, 3.0))


def test_the_box_is_of_the_kind_that_is_named(reader):
    view = TrainView(sampling=CLIP, crop=32, box={"kind": "centre"}, repeats=2)
    assert [shot.crop for shot in view.shots(reader, range(40), 0)] == [Box(0, 8, 48, 48)] * 2
    view = TrainView(sampling=CLIP, crop=32, box={"kind": "multi_scale", "places": 13})
    boxes = {view.shots(reader, range(40), seed)[0].crop for seed in range(50)}
    assert {box.height for box in boxes} == {48, 42, 36, 32}


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
