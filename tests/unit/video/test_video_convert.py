from fractions import Fraction

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


@pytest.mark.parametrize("box", [Box(5, 26, 80, 80), Box(0, 0, 33, 45), Box(6, 3, 21, 77), Box(88, 120, 1, 1)])
def test_sharp_colours_at_an_odd_edge_are_those_of_the_whole(box):
    """Of an odd number of rows FFmpeg would blend the colours of neighbours."""
    frame = smooth_frame()
    for plane in frame.planes:
        noise = np.random.default_rng(0).integers(0, 256, plane.buffer_size, dtype=np.uint8)
        plane.update(noise)
    part = convert(frame)[box.top : box.top + box.height, box.left : box.left + box.width]
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


def blocks_frame(pixel_format, colorspace=2, color_range=0, side=128, block=16):
    """Squares of one colour each, legal in any range, so that the middle of each tells nothing about resampling."""
    rng = np.random.default_rng(7)
    frame = av.VideoFrame(side, side, pixel_format)
    frame.colorspace, frame.color_range = colorspace, color_range
    for number, plane in enumerate(frame.planes):
        depth = frame.format.components[number].bits
        low, high = (50, 190) if number == 0 or pixel_format == "gbrp" else (105, 151)
        levels = rng.integers(low, high, (side // block, side // block)) << (depth - 8)
        rows = np.zeros(
            (plane.height, plane.line_size // (2 if depth > 8 else 1)), np.uint16 if depth > 8 else np.uint8
        )
        grown = levels.repeat(plane.height * block // side, axis=0).repeat(plane.width * block // side, axis=1)
        rows[:, : plane.width] = grown
        plane.update(rows)
    return frame


def split(converter, data):
    """The three planes of what the converter wrote."""
    height, width = -(-converter.height // 2), -(-converter.width // 2)
    luma, chroma = np.split(data, [converter.height * converter.width])
    return (luma.reshape(converter.height, converter.width), *chroma.reshape(2, height, width))


def convert_planes(frame, crop=None, size=None, *, displayed=(HEIGHT, WIDTH), mirror=False):
    converter = Converter(displayed, crop, size, mirror=mirror, planes=True)
    out = np.zeros(converter.shape, np.uint8)
    converter.convert(frame, out)
    return converter, split(converter, out)


def planes_to_rgb(converter, planes):
    """Conversion by the standards' formula, in float."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[converter.matrix]
    luma, u, v = planes
    u, v = (plane.repeat(2, axis=0).repeat(2, axis=1).astype(float) - 128 for plane in (u, v))
    if converter.is_full_range:
        luma = luma.astype(float)
    else:
        luma, u, v = (luma - 16.0) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.stack([r, g, b], axis=-1).clip(0, 255)


MIRRORED_SIZES = [None, (32, 64), (45, 61), (40, 50)]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv444p", "yuv422p", "gray", "gbrp"])
@pytest.mark.parametrize("size", MIRRORED_SIZES)
@pytest.mark.parametrize("box", [None, Box(11, 9, 70, 101), Box(8, 12, 40, 48)])
def test_a_mirrored_picture_is_the_other_one_mirrored(pixel_format, size, box):
    frame = smooth_frame(pixel_format)
    converter = Converter((HEIGHT, WIDTH), box, size, mirror=True)
    out = np.zeros(converter.shape, np.uint8)
    converter.convert(frame, out)
    np.testing.assert_array_equal(out, convert(frame, box, size)[:, ::-1])
    _, mirrored = convert_planes(frame, box, size, mirror=True)
    for plane, other in zip(mirrored, convert_planes(frame, box, size)[1], strict=True):
        np.testing.assert_array_equal(plane, other[:, ::-1])


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("size", MIRRORED_SIZES)
@pytest.mark.parametrize("mirror", [False, True])
def test_turned_pictures(monkeypatch, turns, size, mirror):
    frame = smooth_frame("yuv444p")
    upright = convert(frame, None, size)
    monkeypatch.setattr("kinoray.video.convert.quarter_turns", lambda _: turns)
    expected = np.rot90(upright, turns)
    converter = Converter(
        np.rot90(np.zeros((HEIGHT, WIDTH)), turns).shape, None, expected.shape[:2] if size else None, mirror=mirror
    )
    out = np.zeros(converter.shape, np.uint8)
    converter.convert(frame, out)
    # Where planes are turned before they become RGB, other pixels are rounded together.
    difference = np.abs(out.astype(int) - (expected[:, ::-1] if mirror else expected))
    assert difference.max() <= (3 if size == (32, 64) else 0)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("shape", [(90, 122), (89, 121)])
def test_turned_native_planes(monkeypatch, turns, mirror, shape):
    frame = smooth_frame(height=shape[0], width=shape[1])
    _, coded = convert_planes(frame, displayed=shape)
    monkeypatch.setattr("kinoray.video.convert.quarter_turns", lambda _: turns)
    expected = [np.rot90(plane, turns)[:, :: -1 if mirror else 1] for plane in coded]
    displayed = np.rot90(np.zeros(shape), turns).shape
    _, turned = convert_planes(frame, displayed=displayed, mirror=mirror)
    for plane, other in zip(turned, expected, strict=True):
        np.testing.assert_array_equal(plane, other)
    converter, part = convert_planes(frame, Box(8, 13, 31, 40), displayed=displayed, mirror=mirror)
    assert (converter.height, converter.width) == (32, 42)
    left = displayed[1] - 12 - 42 if mirror else 12
    np.testing.assert_array_equal(part[0], expected[0][8:40, left : left + 42])


@pytest.mark.parametrize("shape", [(90, 122), (89, 121)])
def test_native_planes_are_what_was_encoded(shape):
    height, width = shape
    rng = np.random.default_rng(0)
    chroma_shape = (-(-height // 2), -(-width // 2))
    planes = [rng.integers(16, 236, each, dtype=np.uint8) for each in (shape, chroma_shape, chroma_shape)]
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows)
    encoder = av.CodecContext.create("ffv1", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 25)
    packets = encoder.encode(frame) + encoder.encode(None)
    decoder = av.CodecContext.create("ffv1", "r")
    decoder.width, decoder.height, decoder.extradata = width, height, encoder.extradata
    (decoded,) = decoder.decode(packets[0]) + decoder.decode(None)

    for plane, other in zip(convert_planes(decoded, displayed=shape)[1], planes, strict=True):
        np.testing.assert_array_equal(plane, other)
    converter, part = convert_planes(decoded, Box(7, 13, 31, 45), displayed=shape)
    assert (converter.height, converter.width) == (32, 46)
    for plane, other, grid in zip(part, planes, (1, 2, 2), strict=True):
        np.testing.assert_array_equal(plane, other[6 // grid : 38 // grid, 12 // grid : 58 // grid])
    edge, _ = convert_planes(decoded, Box(81, 111, height - 81, width - 111), displayed=shape)
    assert (edge.height, edge.width) == (height - 80, width - 110)


def test_planes_of_lines_that_lie_upside_down():
    frame = smooth_frame()
    graph = av.filter.Graph()
    source = graph.add_buffer(width=WIDTH, height=HEIGHT, format="yuv420p", time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(frame)
    for plane, other in zip(convert_planes(graph.vpull())[1], convert_planes(frame)[1], strict=True):
        np.testing.assert_array_equal(plane, other[::-1])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "gbrp"])
@pytest.mark.parametrize("color_range", [0, 1, 2])
@pytest.mark.parametrize("size", [None, (64, 64)])
def test_planes_are_of_the_yuv_they_say(pixel_format, color_range, size):
    for colorspace in (0, 1, 2, 4, 5, 6, 7, 9):
        frame = blocks_frame(pixel_format, colorspace, color_range)
        converter, planes = convert_planes(frame, None, size, displayed=(128, 128))
        rgb = convert(frame, None, size, displayed=(128, 128))
        block = len(rgb) // 8
        middles = np.s_[block // 2 :: block, block // 2 :: block]
        assert np.abs(planes_to_rgb(converter, planes)[middles] - rgb[middles]).max() < 4
        if pixel_format.startswith("yuv"):
            assert converter.matrix == {1: "bt709", 9: "bt2020"}.get(colorspace, "bt601")
            assert converter.is_full_range == (color_range == 2 or pixel_format == "yuvj420p")


@pytest.mark.parametrize("size", [None, (64, 64)])
def test_unknown_colour_tags_are_taken_as_none(size):
    plain = blocks_frame("yuv420p")
    expected = convert(plain, None, size, displayed=(128, 128))
    for colorspace in (3, 8, 11, 15):
        for mirror in (False, True):
            frame = blocks_frame("yuv420p", colorspace)
            frame.color_trc = frame.color_primaries = 3
            converter = Converter((128, 128), None, size, mirror=mirror)
            out = np.zeros(converter.shape, np.uint8)
            converter.convert(frame, out)
            np.testing.assert_array_equal(out[:, ::-1] if mirror else out, expected)
    constant, usual = (convert(blocks_frame("yuv420p", space), displayed=(128, 128)) for space in (10, 9))
    np.testing.assert_array_equal(constant, usual)


@pytest.mark.parametrize("corner", [(10, 8), (11, 9)])
def test_scaled_planes_are_those_that_become_rgb(corner):
    frame = smooth_frame()
    box = Box(*corner, 70, 100)
    converter, planes = convert_planes(frame, box, (48, 64))
    assert np.abs(planes_to_rgb(converter, planes) - convert(frame, box, (48, 64))).max() < 3.5
