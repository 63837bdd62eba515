"""Which YUV a picture is in, as a small number that travels with it, and how that becomes RGB."""

from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from kinoray.video.frames import Matrix

COLOURS: tuple[tuple[Matrix, bool], ...] = tuple(product(get_args(Matrix), (False, True)))
"""(matrix, is_full_range) by code."""
# Shares of red and blue in luma.   Source: ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance).
_RED_BLUE: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


def colour_code(matrix: Matrix, is_full_range: bool) -> int:
    """The place in ``COLOURS``."""
    return COLOURS.index((matrix, is_full_range))


def rgb_from_yuv(matrix: Matrix, is_full_range: bool) -> NDArray[np.float64]:
    """``(3, 4)``: what R, G and B take of Y, U, V and 1, all of them levels 0..255."""
    red, blue = _RED_BLUE[matrix]
    green = 1 - red - blue
    of_chroma = np.array(
        [
            [0, 2 * (1 - red)],
            [-2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [2 * (1 - blue), 0],
        ]
    )
    black, luma_scale, chroma_scale = (0, 1.0, 1.0) if is_full_range else (16, 255 / 219, 255 / 224)
    levels = np.column_stack([np.full(3, luma_scale), of_chroma * chroma_scale])
    return np.column_stack([levels, -levels @ [black, 128, 128]])
