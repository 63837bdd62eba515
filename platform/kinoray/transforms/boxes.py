"""Where crops lie: index math only, so that a crop can be decided before a frame is decoded."""

import math

import numpy as np

from kinoray.video.frames import Box

NUM_TRIES = 10


def random_resized_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> Box:
    """A random box of a picture by area and aspect ratio, as for Inception and ever since.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        scale: range of the box's share of the area.
        ratio: range of width / height, drawn evenly on a log scale.
        rng: always advanced by the same number of draws.

    Source: arXiv 1409.4842. After 10 misses it is the largest centred box of an allowed ratio, as in torchvision.
    """
    areas = height * width * rng.uniform(*scale, size=NUM_TRIES)
    ratios = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), size=NUM_TRIES))
    places = rng.random(2)
    widths = np.rint(np.sqrt(areas * ratios)).astype(int)
    heights = np.rint(np.sqrt(areas / ratios)).astype(int)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    if fits.any():
        first = int(np.argmax(fits))
        box_height, box_width = int(heights[first]), int(widths[first])
        top, left = (
            int(place * (room + 1))
            for place, room in zip(places, (height - box_height, width - box_width), strict=True)
        )
        return Box(top, left, box_height, box_width)
    allowed = min(max(width / height, ratio[0]), ratio[1])
    box_width = min(width, max(1, round(height * allowed)))
    box_height = min(height, max(1, round(width / allowed)))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) after resizing so that the shorter side has ``short_side`` pixels.

    Source: the order of the arithmetic is MMCV's; another rounds a few sizes to a neighbour.
    """
    scale = short_side / min(height, width)
    long_side = max(short_side, int(max(height, width) * scale + 0.5))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def crop_offsets(height: int, width: int, crop: int, num_crops: int) -> list[tuple[int, int]]:
    """(top, left) of square crops: the centre, or both ends and the centre of the longer side.

    Source: MMAction2's ThreeCrop, whose far end is twice as far as its centre, so one pixel short of an odd rest.
    """
    top, left = (height - crop) // 2, (width - crop) // 2
    if num_crops == 1:
        return [(top, left)]
    if width >= height:
        return [(top, step * left) for step in range(3)]
    return [(step * top, left) for step in range(3)]
