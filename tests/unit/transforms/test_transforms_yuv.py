import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace

from kinoray.transforms import yuv
from kinoray.transforms.colours import COLOURS, rgb_from_yuv
from kinoray.transforms.yuv import planes_to_rgb

SPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": 9}


def noise(*shape):
    return torch.from_numpy(np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8))


def by_ffmpeg(planes, matrix, is_full_range):
    """``(3 * H / 2, W)`` -> ``(H, W, 3)``."""
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.colorspace, frame.color_range = SPACES[matrix], ColorRange.JPEG if is_full_range else ColorRange.MPEG
    return frame.reformat(format="rgb24").to_ndarray()


@pytest.mark.parametrize("code", range(6))
def test_the_same_planes_become_what_ffmpeg_makes_of_them(code):
    """Over all levels that planes can hold, legal or not."""
    planes = noise(1, 1, 1, 144, 128)
    ours = planes_to_rgb(planes, [code])[0, 0, :, 0].permute(1, 2, 0).numpy().astype(int)
    difference = np.abs(ours - by_ffmpeg(planes[0, 0, 0].numpy(), *COLOURS[code]))
    assert difference.max() <= 3
    assert difference.mean() < 0.8


@pytest.mark.parametrize("code", range(6))
def test_it_is_the_formula_rounded(code):
    planes = noise(1, 1, 2, 36, 16)
    rgb = planes_to_rgb(planes, [code])
    flat = planes[0, 0].reshape(2, -1).numpy().astype(float)
    luma = flat[:, : 24 * 16].reshape(2, 24, 16)
    chroma = (flat[:, 24 * 16 :].reshape(2, 2, 12, 8)).repeat(2, axis=2).repeat(2, axis=3)
    of_pixel = np.stack([luma, chroma[:, 0], chroma[:, 1], np.ones_like(luma)], axis=-1)
    exact = np.clip(of_pixel @ rgb_from_yuv(*COLOURS[code]).T, 0, 255)
    assert np.abs(rgb[0, 0].permute(1, 2, 3, 0).numpy() - exact).max() <= 0.501


def test_every_video_has_its_own_colour():
    planes = noise(6, 2, 3, 12, 8)
    together = planes_to_rgb(planes, range(6))
    assert together.shape == (6, 2, 3, 3, 8, 8)
    assert together.dtype == torch.uint8
    assert together.is_contiguous()
    for code in range(6):
        for view in range(2):
            alone = planes_to_rgb(planes[code : code + 1, view : view + 1], [code])
            assert torch.equal(together[code, view], alone[0, 0])
    assert len({together[code].numpy().tobytes() for code in range(6)}) == 6


@pytest.mark.parametrize("num_bytes", [1, 3 * 64 * 4 * 2, 3 * 64 * 4 * 3, 3 * 64 * 4 * 7, 1 << 30])
def test_pieces_do_not_show(monkeypatch, num_bytes):
    planes = noise(2, 2, 3, 12, 8)
    expected = planes_to_rgb(planes, [0, 3])
    monkeypatch.setattr(yuv, "_CPU_BYTES", num_bytes)
    assert torch.equal(planes_to_rgb(planes, [0, 3]), expected)


def test_clips_of_a_shared_array_are_left_alone():
    shared = noise(3, 1, 2, 12, 8)
    planes, before = shared[1:], shared.clone()
    rgb = planes_to_rgb(planes, [1, 1])
    assert torch.equal(shared, before)
    assert torch.equal(rgb, planes_to_rgb(planes.clone(), [1, 1]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_the_same():
    planes = noise(6, 2, 4, 48, 32)
    on_gpu = planes_to_rgb(planes.cuda(), range(6)).cpu().int()
    # A fused multiplication and addition may round a level the other way.
    assert (on_gpu - planes_to_rgb(planes, range(6)).int()).abs().max() <= 1
