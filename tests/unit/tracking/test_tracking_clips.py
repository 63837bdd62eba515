from io import BytesIO

import av
import numpy as np
import pytest

from kinoray.tracking.clips import captioned, gif_bytes


def decoded(gif: bytes) -> tuple[np.ndarray, list[float]]:
    with av.open(BytesIO(gif)) as container:
        frames = list(container.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [frame.time for frame in frames]


def test_a_gif_holds_every_frame_in_order_and_time() -> None:
    levels = np.array([0, 60, 60, 120, 250], np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (5, 30, 40, 3))
    frames, times = decoded(gif_bytes(pictures, fps=10))
    assert frames.shape == (5, 30, 40, 3)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), levels, atol=3)
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_gif_loops_for_ever() -> None:
    gif = gif_bytes(np.zeros((2, 16, 16, 3), np.uint8), fps=8)
    at = gif.index(b"NETSCAPE2.0") + len(b"NETSCAPE2.0")
    assert gif[at : at + 5] == b"\x03\x01\x00\x00\x00"


def test_colours_survive_the_palette() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8).repeat(20, 1).repeat(20, 2)
    frames, _ = decoded(gif_bytes(pictures, fps=8))
    assert np.abs(frames.astype(int) - pictures).mean() < 6


@pytest.mark.parametrize("side", [30, 56, 224, 300])
def test_words_stand_above_the_frames_and_change_nothing_in_them(side: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    shown = captioned(pictures, [("90% an apple", "#c53030"), ("$x^{", "#2f855a")])
    factor = max(1, 256 // side)
    width = max(256, side * factor)
    assert shown.shape[2] == width
    left = (width - side * factor) // 2
    frames = shown[:, -side * factor :, left : left + side * factor]
    np.testing.assert_array_equal(frames[:, ::factor, ::factor], pictures)
    words = shown[0, : -side * factor]
    assert (words.min(axis=2) < 128).any()
    assert (shown[:, : -side * factor] == words).all()
