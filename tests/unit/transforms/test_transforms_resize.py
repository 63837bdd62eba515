"""Planes resized on the model's device, against FFmpeg's scaler, which the decoding side uses."""

import av
import numpy as np
import pytest
import torch

from kinoray.transforms import resize
from kinoray.transforms.colours import COLOURS
from kinoray.transforms.resize import packed_to_rgb
from kinoray.transforms.windows import Axis, PackedView, Window, plane_bytes
from kinoray.transforms.yuv import planes_to_rgb
from kinoray.video.convert import Converter
from kinoray.video.frames import Box

NOTHING = Axis(0, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def smooth_noise(num_frames, height, width, seed=0):
    """``(T, B)`` planes with edges and grain."""
    rng = np.random.default_rng(seed)
    planes = rng.integers(16, 236, (num_frames, plane_bytes(height, width)), dtype=np.uint8)
    planes[:, : height * width // 2] = planes[:, : height * width // 2] // 64 * 64
    return torch.from_numpy(planes)


def whole(height, width, side, **of_window):
    """All of the picture, resized to a square."""
    window = Window(Axis(height, 0, height, side, 0), Axis(width, 0, width, side, 0), side, mirror=False)
    return window._replace(**of_window)


def shown(planes, *windows, colour=0):
    """``(windows, 3, T, S, S)``; before the planes there is something else."""
    row = torch.cat([torch.zeros(7, dtype=torch.uint8), planes.flatten()])
    views = [PackedView(7, len(planes), window) for window in windows]
    out = torch.full((len(views), 3, len(planes), windows[0].side, windows[0].side), 99, dtype=torch.uint8)
    packed_to_rgb(row, views, colour, out)
    return out


def by_ffmpeg(planes, size, crop, side):
    """``(S, S, 3)``: the decoding side's planes of one picture, as RGB by ours."""
    height, width = size
    stacked = np.zeros((height * 3 // 2, width), np.uint8)
    stacked.reshape(-1)[:] = planes
    frame = av.VideoFrame.from_ndarray(stacked, format="yuv420p")
    converter = Converter(size, crop, (side, side), planes=True)
    out = np.empty(converter.shape, np.uint8)
    converter.convert(frame, out)
    return planes_to_rgb(torch.from_numpy(out).view(1, 1, 1, side * 3 // 2, side), [0])[0, 0, :, 0]


BOXES = [
    Box(0, 0, 96, 128), Box(10, 20, 50, 60), Box(10, 20, 51, 60), Box(11, 21, 50, 60), Box(11, 21, 51, 61),
    Box(11, 20, 85, 107), Box(1, 1, 95, 127), Box(30, 31, 9, 12), Box(95, 0, 1, 128),
]  # fmt: skip


@pytest.mark.parametrize("side", [32, 56, 90])
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_it_is_what_ffmpeg_makes_of_a_box(box, side):
    """FFmpeg rounds its planes to levels, twice; its conversion to RGB is left out of it."""
    planes = smooth_noise(1, 96, 128)
    window = Window(Axis(96, box.top, box.height, side, 0), Axis(128, box.left, box.width, side, 0), side, mirror=False)
    ours = shown(planes, window)[0, :, 0].int()
    difference = (ours - by_ffmpeg(planes[0].numpy(), (96, 128), box, side).int()).abs().float()
    assert difference.mean() < 0.6
    assert difference[..., 2:].max() <= 3
    assert difference.max() <= 20  # of a picture that shrinks a little, FFmpeg's filter is cut off at the left edge


@pytest.mark.parametrize("code", range(6))
def test_without_resizing_it_is_the_conversion_of_planes(code):
    planes = smooth_noise(2, 16, 16)
    expected = planes_to_rgb(planes.view(1, 1, 2, 24, 16), [code])[0, 0].int()
    assert (shown(planes, whole(16, 16, 16), colour=code)[0].int() - expected).abs().max() <= 1


def test_colours_differ():
    planes = smooth_noise(1, 16, 16)
    assert len({shown(planes, whole(16, 16, 8), colour=code).numpy().tobytes() for code in range(len(COLOURS))}) == 6


@pytest.mark.parametrize(("height", "width", "side"), [(37, 51, 24), (48, 64, 33), (20, 16, 47)])
def test_a_mirror_exchanges_left_and_right(height, width, side):
    planes = smooth_noise(2, height, width)
    plain, mirrored = shown(planes, whole(height, width, side), whole(height, width, side, mirror=True))
    assert (mirrored.int() - plain.flip(-1).int()).abs().max() <= 1
    assert not torch.equal(mirrored, plain)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5), (8, 1), (12, 29)])
def test_a_square_is_cut_out_of_the_resized_picture(top, left):
    planes, side = smooth_noise(1, 61, 80), 33
    window = Window(Axis(61, 0, 61, 45, top), Axis(80, 0, 80, 62, left), side, mirror=False)
    tall = shown(planes, Window(Axis(61, 0, 61, 45, 0), Axis(80, 0, 80, 62, 0), 45, mirror=False))[0]
    wide = shown(planes, Window(Axis(61, 0, 61, 45, 0), Axis(80, 0, 80, 62, 17), 45, mirror=False))[0]
    full = torch.cat([tall[..., :17], wide], dim=-1)
    expected = full[..., top : top + side, left : left + side]
    assert (shown(planes, window)[0].int() - expected.int()).abs().max() <= 1


def test_planes_that_are_not_needed_need_not_be_stored():
    planes = smooth_noise(1, 60, 80)
    y = planes[:, :4800].view(60, 80)[10:50, 20:]
    chroma = planes[:, 4800:].view(2, 30, 40)[:, 5:25, 10:]
    part = torch.cat([y.flatten(), chroma.flatten()])[None]
    full = shown(planes, Window(Axis(60, 0, 60, 45, 15), Axis(80, 0, 80, 60, 30), 15, mirror=False))
    less = shown(part, Window(Axis(40, -10, 60, 45, 15), Axis(60, -20, 80, 60, 30), 15, mirror=False))
    assert (full.int() - less.int()).abs().max() <= 1


def test_a_flat_picture_stays_flat():
    """Weights add up to one everywhere, edges included."""
    planes = torch.full((1, plane_bytes(37, 53)), 128, dtype=torch.uint8)
    for side in (8, 31, 100):
        assert len(shown(planes, whole(37, 53, side)).unique()) == 1


def test_what_is_not_stored_is_zero():
    planes = smooth_noise(2, 16, 16)
    blank, picture = shown(planes, Window(NOTHING, NOTHING, 8, mirror=False), whole(16, 16, 8))
    assert not blank.any()
    assert torch.equal(picture, shown(planes, whole(16, 16, 8))[0])
    assert not shown(planes, Window(NOTHING, NOTHING, 8, mirror=False)).any()


@pytest.mark.parametrize("num_bytes", [1, 40 * 30 * 12 * 2, 40 * 30 * 12 * 3, 1 << 30])
def test_pieces_do_not_show(monkeypatch, num_bytes):
    planes = smooth_noise(5, 30, 40)
    expected = shown(planes, whole(30, 40, 24)).int()
    monkeypatch.setattr(resize, "_CPU_BYTES", num_bytes)
    assert (shown(planes, whole(30, 40, 24)).int() - expected).abs().max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_the_same():
    planes = smooth_noise(4, 61, 80)
    windows = [whole(61, 80, 45), whole(61, 80, 45, mirror=True)]
    views = [PackedView(0, 4, window) for window in windows]
    out = torch.empty((2, 3, 4, 45, 45), dtype=torch.uint8, device="cuda")
    packed_to_rgb(planes.flatten().cuda(), views, 1, out)
    assert (out.cpu().int() - shown(planes, *windows, colour=1).int()).abs().max() <= 1
