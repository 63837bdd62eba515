import av
import numpy as np
import pytest

from kinoray.video.convert import Converter, turn_back
from kinoray.video.frames import Box

HEIGHT, WIDTH = 90, 122


def smooth_frame(pixel_format="yuv420p", height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(5 * x / width + 6 * y / height)], axis=-1)
    return av.VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24").reformat(format=pixel_format)


def convert(frame, crop=None, size=None, displayed=(HEIGHT, WIDTH)):
    converter = Converter(displayed, crop, size)
    out = np.zeros(converter.shape, np.uint8)
    converter.convert(frame, out)
    return out


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p", "gray", "rgb24", "gbrp"])
def test_a_crop_is_a_part_of_the_whole(pixel_format):
    frame = smooth_frame(pixel_format)
    whole = convert(frame)
    np.testing.assert_array_equal(whole, frame.to_ndarray(format="rgb24"))
    for box in (Box(0, 0, 90, 122), Box(7, 13, 31, 45), Box(8, 12, 40, 40), Box(89, 121, 1, 1)):
        part = whole[box.top : box.top + box.height, box.left : box.left + box.width]
        np.testing.assert_array_equal(convert(frame, box), part)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv444p", "yuv422p", "gray", "rgb24"])
@pytest.mark.parametrize("size", [(45, 61), (33, 201), (224, 224)])
@pytest.mark.parametrize("corner", [(10, 8), (11, 9), (10, 9)])
def test_a_resized_crop_looks_like_the_resized_part(pixel_format, size, corner):
    frame = smooth_frame(pixel_format)
    box = Box(*corner, 70, 100)
    part = av.VideoFrame.from_ndarray(np.ascontiguousarray(convert(frame, box)), format="rgb24")
    expected = part.reformat(width=size[1], height=size[0]).to_ndarray()
    got = convert(frame, box, size)
    assert got.shape == (*size, 3)
    difference = np.abs(got.astype(int) - expected)
    assert difference.mean() < 2.5
    assert np.abs(got.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 2.5


def test_full_and_limited_range_show_the_same_picture():
    pictures = [convert(smooth_frame(name), size=(60, 60)).astype(int) for name in ("yuv420p", "yuvj420p")]
    assert np.abs(pictures[0] - pictures[1]).mean() < 2.0


def test_frames_of_another_size_are_brought_to_the_displayed_one():
    small, usual = smooth_frame(height=45, width=61), smooth_frame()
    for crop, size in ((None, None), (Box(10, 20, 50, 60), None), (Box(10, 20, 50, 60), (32, 32))):
        converter = Converter((HEIGHT, WIDTH), crop, size)
        pictures = np.zeros((2, *converter.shape), np.uint8)
        converter.convert(small, pictures[0])
        converter.convert(usual, pictures[1])
        assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 5.0


@pytest.mark.parametrize("turns", range(4))
def test_turn_back(turns):
    coded = np.arange(6 * 10).reshape(6, 10)
    shown = np.rot90(coded, turns)
    box = Box(1, 2, 3, 4)
    back = turn_back(box, shown.shape, turns)
    part = coded[back.top : back.top + back.height, back.left : back.left + back.width]
    np.testing.assert_array_equal(np.rot90(part, turns), shown[1:4, 2:6])
