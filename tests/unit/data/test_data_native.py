"""What is stored of a video whose planes travel as they are, and its bound."""

import numpy as np
import pytest

from kinoray.data.native import NATIVE_SHARE
from kinoray.data.packing import read_views, used_bytes
from kinoray.data.planes import source_box, split_planes
from kinoray.data.views import EvalView, TrainView
from kinoray.transforms.crop_boxes import RandomResizedBox
from kinoray.transforms.windows import plane_bytes
from kinoray.video.convert import Converter
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.sampling import ClipSampling

CLIP = ClipSampling(clip_len=4, frame_interval=3)
TWICE = ClipSampling(clip_len=2, num_clips=2)


def read(view, reader, seed=0):
    """The row; the same where it is written into a place."""
    segment = range(reader.num_frames)
    row = view.read(reader, segment, seed).clip
    place = np.full(view.clip_shape(), 77, np.uint8)
    placed = view.read(reader, segment, seed, place).clip
    assert np.shares_memory(placed, place)
    np.testing.assert_array_equal(placed, row)
    assert used_bytes(row) == len(row) <= view.clip_shape()[0]
    assert (place[len(row) :] == 77).all()
    return row


def stored(row, view):
    """``(T, B)``"""
    size = view.window.frame_bytes
    return row[view.start :][: view.num_frames * size].reshape(-1, size)


@pytest.fixture
def reader(video):
    with VideoReader(video) as reader:
        yield reader


def test_small_boxes_are_stored_as_they_are(reader):
    view = TrainView(sampling=CLIP, crop=40, pixels="native")
    for seed in range(8):
        row = read(view, reader, seed)
        (shot,) = view.shots(reader, range(reader.num_frames), seed)
        (packed,) = read_views(row)
        box, (rows, columns, side, mirror) = shot.crop.widened((48, 64)), packed.window
        assert (rows.stored, columns.stored, side, mirror) == (box.height, box.width, 40, shot.mirror)
        assert (box.top + rows.start, box.left + columns.start) == (shot.crop.top, shot.crop.left)
        assert (rows.length, columns.length) == (shot.crop.height, shot.crop.width)
        (planes,) = reader.read_planes([Shot(shot.indices, shot.crop)])
        np.testing.assert_array_equal(stored(row, packed), planes.data)


def test_large_boxes_are_scaled_while_decoding(reader):
    whole = RandomResizedBox(scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3))
    for crop, is_native in ((40, True), (38, False)):  # 48 x 64 have 3072 pixels, which is 2 x 39.2 x 39.2
        view = TrainView(sampling=CLIP, crop=crop, box=whole, pixels="native")
        row = read(view, reader)
        (packed,) = read_views(row)
        assert packed.window.frame_bytes == plane_bytes(*((48, 64) if is_native else (crop, crop)))
        if not is_native:
            (shot,) = view.shots(reader, range(reader.num_frames), 0)
            (planes,) = reader.read_planes([Shot(shot.indices, shot.crop, shot.size)])  # mirrored by the model's device
            np.testing.assert_array_equal(stored(row, packed), planes.data)
            assert packed.window.mirror == shot.mirror


def test_repeats_have_boxes_and_sizes_of_their_own(reader):
    view = TrainView(sampling=TWICE, crop=24, repeats=3, pixels="native")
    row = read(view, reader, 1)
    shots = view.shots(reader, range(reader.num_frames), 1)
    views = read_views(row)
    assert len(views) == 6
    assert len({packed.window for packed in views}) == 3
    for number, shot in enumerate(shots):
        for clip, packed in enumerate(views[2 * number : 2 * number + 2]):
            assert packed.window.mirror == shot.mirror
            size = (24, 24) if packed.window.rows.length == 24 else None
            (planes,) = reader.read_planes([Shot(shot.indices.reshape(2, 2)[clip], shot.crop, size)])
            np.testing.assert_array_equal(stored(row, packed), planes.data)


def test_one_mirror_for_all_repeats(reader):
    view = TrainView(sampling=CLIP, crop=24, repeats=4, pixels="native")
    for seed in range(6):
        views = view.read(reader, range(reader.num_frames), seed, one_mirror=True)
        assert {packed.window.mirror for packed in read_views(views.clip)} == {views.is_mirrored}


@pytest.mark.parametrize(("num_crops", "num_windows"), [(1, 1), (3, 3), (10, 10)])
def test_crops_share_the_planes_that_are_stored(reader, num_crops, num_windows):
    view = EvalView(sampling=TWICE, crop=40, num_crops=num_crops, resize=46, pixels="native")
    row = read(view, reader)
    views = read_views(row)
    assert len(views) == 2 * num_crops
    starts = [packed.start for packed in views]
    assert len(set(starts[:num_crops])) == len(set(starts[num_crops:])) == 1
    assert starts[0] < starts[-1]
    assert len({packed.window for packed in views}) == num_windows
    assert [packed.window.mirror for packed in views[:num_crops]] == [False] * min(num_crops, 5) + [True] * (
        5 if num_crops == 10 else 0
    )


def test_one_crop_of_a_wide_picture_leaves_its_ends(write_video, tmp_path):
    with VideoReader(write_video(tmp_path / "wide.mp4", 4, size=(48, 128))) as reader:
        row = read(EvalView(sampling=CLIP, crop=48, resize=48, pixels="native"), reader)
        (packed,) = read_views(row)
        rows, columns = packed.window.rows, packed.window.columns
        assert (rows.stored, columns.length, columns.resized) == (48, 128, 128)
        assert 48 < columns.stored < 64
        (whole,) = reader.read_planes([Shot(np.array([0]))])
        y = split_planes(whole.data, 48, 128)[0][0, :, -columns.start :][:, : columns.stored]
        np.testing.assert_array_equal(split_planes(stored(row, packed)[:1], 48, columns.stored)[0][0], y)


@pytest.mark.parametrize("num_crops", [1, 3, 10])
@pytest.mark.parametrize("size", [(48, 64), (48, 480), (320, 32), (200, 300)])
@pytest.mark.parametrize(("crop", "resize"), [(16, 16), (24, 46), (31, 33)])
def test_no_row_exceeds_its_bound(write_video, tmp_path, size, num_crops, crop, resize):
    """Panoramas, towers and large pictures: what is stored is scaled, then cut apart."""
    view = EvalView(sampling=TWICE, crop=crop, resize=resize, num_crops=num_crops, pixels="native")
    with VideoReader(write_video(tmp_path / "video.mp4", 3, size=size)) as reader:
        views = read_views(read(view, reader))  # which asserts it
        assert len(views) == 2 * num_crops
        boxes = TrainView(sampling=CLIP, crop=crop, repeats=4, pixels="native")
        for seed in range(5):
            for packed in read_views(read(boxes, reader, seed)):
                assert packed.window.frame_bytes <= NATIVE_SHARE * plane_bytes(crop, crop)


def test_the_bound_is_twice_what_is_shown():
    frames, header = 3 * 4 * 2, 2000
    train = TrainView(sampling=CLIP.model_copy(update={"num_clips": 3}), crop=224, repeats=2, pixels="native")
    assert train.clip_shape()[0] <= 2 * frames * plane_bytes(226, 226) + header
    assert train.clip_shape()[0] < 1.02 * np.prod(train.model_copy(update={"pixels": "rgb"}).clip_shape()) + header
    ten = EvalView(sampling=CLIP, crop=224, num_crops=10, pixels="native")
    assert ten.clip_shape()[0] < 0.27 * np.prod(ten.model_copy(update={"pixels": "rgb"}).clip_shape())


@pytest.mark.parametrize("size", [(47, 63), (48, 64)])
def test_boxes_are_widened_as_decoding_does(size):
    rng = np.random.default_rng(0)
    for _ in range(50):
        top, left = (int(rng.integers(length)) for length in size)
        box = Box(top, left, int(rng.integers(1, size[0] - top + 1)), int(rng.integers(1, size[1] - left + 1)))
        wider, converter = box.widened(size), Converter(size, box, None, planes=True)
        assert (wider.height, wider.width) == (converter.height, converter.width)
        assert wider.top <= box.top
        assert wider.left <= box.left
        assert wider.top + wider.height >= box.top + box.height
        assert wider.widened(size) == wider


def test_what_takes_part_in_a_box_lies_in_the_picture():
    whole = Box(0, 0, 47, 63)
    assert source_box(Box(0, 0, 24, 32), (24, 32), (47, 63)) == whole
    part = source_box(Box(8, 8, 8, 8), (24, 32), (96, 128))
    assert part.top % 2 == part.left % 2 == 0
    assert part.top < 32 - 2 * 4
    assert part.top + part.height > 64 + 2 * 4
    assert part.height < 96
