"""Kinds of random boxes for training, decided before a frame is decoded: index math only."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.transforms.boxes import random_resized_box, short_side_size
from kinoray.video.frames import Box

SNAP_PIXELS = 3
"""A side that differs from the wanted one by less becomes it, so that nothing has to be resized. Source: TSN."""


class BoxConfig(KindConfig):
    """Base of what picks the part of a picture that is trained on."""

    @abstractmethod
    def draw(self, height: int, width: int, side: int, rng: np.random.Generator) -> Box:
        """A box of a picture; what is in it will be resized to a square of ``side`` pixels."""

    def check(self, side: int) -> None:
        """Raise a ValueError, as validators do, where a square of so many pixels cannot be had."""


class RandomResizedBox(BoxConfig):
    """Any box within ranges of area and of aspect ratio. Source: arXiv 1409.4842."""

    kind: Literal["random_resized"] = "random_resized"
    scale: tuple[float, float] = (0.08, 1.0)
    """Range of the box's share of the picture's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Range of the box's width / height."""

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        check_box_ranges(self.scale, self.ratio)
        return self

    def draw(self, height: int, width: int, side: int, rng: np.random.Generator) -> Box:  # noqa: ARG002
        return random_resized_box(height, width, self.scale, self.ratio, rng)


class MultiScaleBox(BoxConfig):
    """A few sizes, each at a few places. Source: TSN, arXiv 1608.00859; MMAction2's MultiScaleCrop."""

    kind: Literal["multi_scale"] = "multi_scale"
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0, 0.875, 0.75, 0.66)
    """Sides of a box as shares of the picture's short side, falling."""
    max_scale_gap: int = Field(1, ge=0)
    """Steps in ``scales`` by which the two sides may differ."""
    places: Literal[5, 13, "any"] = 5
    """5: corners and centre; 13: also the middles of the edges and between; any: every pixel."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if max(self.scales) > 1:
            raise ValueError(
                f"scales, got {max(self.scales):g}; a box larger than the short side does not fit: at most 1"
            )
        return self

    def draw(self, height: int, width: int, side: int, rng: np.random.Generator) -> Box:
        sizes = multi_scale_sizes(min(height, width), side, self.scales, self.max_scale_gap)
        box_height, box_width = sizes[rng.integers(len(sizes))]
        if self.places == "any":
            top, left = (int(rng.integers(free + 1)) for free in (height - box_height, width - box_width))
        else:
            corners = fixed_corners(height - box_height, width - box_width, self.places)
            top, left = corners[rng.integers(len(corners))]
        return Box(top, left, box_height, box_width)


class RescaledBox(BoxConfig):
    """A square anywhere in the picture, as if it had been resized to a random short side before.

    Source: arXiv 1409.1556; MMAction2's RandomRescale and RandomCrop. Ours starts and ends at whole pixels of the
    picture as it is stored, so it lies up to half such a pixel beside the reference's.
    """

    kind: Literal["rescaled"] = "rescaled"
    short_side: tuple[int, int] = (256, 320)
    """Range, in pixels, both ends included."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        low, high = self.short_side
        if not 0 < low <= high:
            raise ValueError(f"short_side, got [{low}, {high}]; it should be [low, high], both above 0")
        return self

    def check(self, side: int) -> None:
        if self.short_side[0] < side:
            raise ValueError(f"short_side, got {self.short_side[0]} at least; it should be at least crop ({side})")

    def draw(self, height: int, width: int, side: int, rng: np.random.Generator) -> Box:
        size = short_side_size(height, width, int(rng.integers(self.short_side[0], self.short_side[1] + 1)))
        top, left = (int(rng.integers(length - side + 1)) for length in size)
        return box_before_resize(Box(top, left, side, side), size, (height, width))


class CentreBox(BoxConfig):
    """Always the largest centred square: nothing is random."""

    kind: Literal["centre"] = "centre"

    def draw(self, height: int, width: int, side: int, rng: np.random.Generator) -> Box:  # noqa: ARG002
        square = min(height, width)
        return Box((height - square) // 2, (width - square) // 2, square, square)


def check_box_ranges(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Raise a ValueError, as validators do, where ranges of area and aspect ratio are none."""
    for name, (low, high), highest in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
        if not 0 < low <= high <= highest:
            limit = "above 0 and up to 1" if name == "scale" else "above 0"
            raise ValueError(f"{name}, got [{low:g}, {high:g}]; it should be [low, high], both {limit}")


def multi_scale_sizes(short_side: int, side: int, scales: Sequence[float], max_scale_gap: int) -> list[tuple[int, int]]:
    """(height, width) of the boxes that multi-scale cropping chooses from, in MMAction2's order."""
    lengths = [max(1, int(short_side * scale)) for scale in scales]
    lengths = [side if abs(length - side) < SNAP_PIXELS and side <= short_side else length for length in lengths]
    return [
        (height, width)
        for row, height in enumerate(lengths)
        for column, width in enumerate(lengths)
        if abs(row - column) <= max_scale_gap
    ]


def fixed_corners(spare_height: int, spare_width: int, num_places: int) -> list[tuple[int, int]]:
    """(top, left) of 5 or 13 boxes of one size, in MMAction2's order.

    The places are on a grid of whole steps of a quarter of what the box leaves free, so the far ones can be up to 3
    pixels short of the edge.

    Args:
        spare_height: height of the picture less that of the box.
        spare_width: the same for the width.
        num_places: 5 or 13.
    """
    steps = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    if num_places == 13:
        steps += [(2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
    return [(row * (spare_height // 4), column * (spare_width // 4)) for row, column in steps]


def box_before_resize(box: Box, size: tuple[int, int], stored: tuple[int, int]) -> Box:
    """The part of a stored picture that becomes ``box`` when the picture is resized to ``size``, in whole pixels."""
    top, bottom = _edges(box.top, box.height, size[0], stored[0])
    left, right = _edges(box.left, box.width, size[1], stored[1])
    return Box(top, left, bottom - top, right - left)


def _edges(start: int, length: int, resized: int, stored: int) -> tuple[int, int]:
    first = min(round(start * stored / resized), stored - 1)
    return first, max(round((start + length) * stored / resized), first + 1)


BOXES = KindTable(
    what="box",
    base=BoxConfig,
    kinds={
        "random_resized": "kinoray.transforms.crop_boxes:RandomResizedBox",
        "multi_scale": "kinoray.transforms.crop_boxes:MultiScaleBox",
        "rescaled": "kinoray.transforms.crop_boxes:RescaledBox",
        "centre": "kinoray.transforms.crop_boxes:CentreBox",
    },
    default="random_resized",
)
AnyBox = Annotated[BoxConfig, BOXES]
