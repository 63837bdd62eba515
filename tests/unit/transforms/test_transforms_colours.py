import numpy as np
import pytest

from kinoray.transforms.colours import COLOURS, colour_code, rgb_from_yuv


@pytest.mark.parametrize(("matrix", "is_full_range"), COLOURS)
def test_black_grey_and_white(matrix, is_full_range):
    black, white = (0, 255) if is_full_range else (16, 235)
    affine = rgb_from_yuv(matrix, is_full_range)
    for luma, level in ((black, 0), (white, 255), ((black + white) / 2, 127.5)):
        np.testing.assert_allclose(affine @ [luma, 128, 128, 1], level, atol=1e-9)


@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722), ("bt2020", 0.2627, 0.0593)]
)
def test_it_undoes_the_definition_of_yuv(matrix, red, blue):
    rgb = np.random.default_rng(0).uniform(0, 255, (50, 3))
    luma = rgb @ [red, 1 - red - blue, blue]
    u, v = (rgb[:, 2] - luma) / (2 - 2 * blue), (rgb[:, 0] - luma) / (2 - 2 * red)
    full = np.stack([luma, u + 128, v + 128, np.ones(50)])
    limited = np.stack([luma * 219 / 255 + 16, u * 224 / 255 + 128, v * 224 / 255 + 128, np.ones(50)])
    np.testing.assert_allclose((rgb_from_yuv(matrix, True) @ full).T, rgb, atol=1e-9)
    np.testing.assert_allclose((rgb_from_yuv(matrix, False) @ limited).T, rgb, atol=1e-9)


def test_codes_are_places_in_the_table():
    assert [colour_code(*colour) for colour in COLOURS] == list(range(6))
