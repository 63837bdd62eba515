"""The augmentations. Decoding nodes hold them without torch, so their functions are imported when they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

import numpy as np
from pydantic import Field, model_validator

from kinoray.transforms.boxes import random_resized_box
from kinoray.transforms.crop_boxes import check_box_ranges
from kinoray.transforms.kinds import AugmentationConfig

if TYPE_CHECKING:
    from torch import Tensor

    from kinoray.transforms.operations import Edges

Interpolation = Literal["nearest", "bilinear"]
SignedOperationName = Literal[
    "brightness", "colour", "contrast", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"
]
"""Operations that work both ways."""
OperationName = Literal[SignedOperationName, "identity", "posterize", "solarize", "autocontrast", "equalize"]

MAX_MAGNITUDE = 30.0


class ColourJitter(AugmentationConfig):
    """Random brightness, contrast, saturation and hue, applied in this order."""

    kind: Literal["colour_jitter"] = "colour_jitter"
    brightness: float = Field(0.0, ge=0)
    """b: times a factor from 1 - b (at least 0) to 1 + b."""
    contrast: float = Field(0.0, ge=0)
    """c: distance to the clip's mean luma times a factor from 1 - c (at least 0) to 1 + c."""
    saturation: float = Field(0.0, ge=0)
    """s: distance to the pixel's luma times a factor from 1 - s (at least 0) to 1 + s."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """h: turned by -h to h around the circle of colours; 0.5 is half of it."""

    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        from kinoray.transforms import adjust

        draws = np.stack([rng.uniform(-1, 1, size=4) for rng in rngs], axis=1)
        if self.brightness:
            adjust.adjust_brightness_(clips, _factors(self.brightness, draws[0]))
        if self.contrast:
            adjust.adjust_contrast_(clips, _factors(self.contrast, draws[1]))
        if self.saturation:
            adjust.adjust_saturation_(clips, _factors(self.saturation, draws[2]))
        if self.hue:
            adjust.adjust_hue_(clips, (self.hue * draws[3]).tolist())
        return clips


class Grayscale(AugmentationConfig):
    """No colours: R, G and B all become luma."""

    kind: Literal["grayscale"] = "grayscale"
    probability: float = Field(0.1, ge=0, le=1)
    """Share of the clips that are changed."""

    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:  # noqa: ARG002
        from kinoray.transforms.adjust import grayscale_

        grayscale_(clips)
        return clips


class GaussianBlur(AugmentationConfig):
    """Blur every frame with a Gaussian of a random width."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the standard deviation, in pixels."""
    kernel_size: int = Field(9, ge=3, le=15)
    """Pixels, odd; what of the Gaussian lies outside is left out."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        low, high = self.sigma
        if not 0 < low <= high:
            raise ValueError(f"sigma, got [{low:g}, {high:g}]; it should be [low, high], both above 0")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size, got {self.kernel_size}; it should be odd")
        return self

    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        from kinoray.transforms.blur import gaussian_blur_

        gaussian_blur_(clips, [rng.uniform(*self.sigma) for rng in rngs], self.kernel_size)
        return clips


class RandAugment(AugmentationConfig):
    """A few operations in a row, drawn evenly, all of about the same strength. Source: arXiv 1909.13719."""

    kind: Literal["rand_augment"] = "rand_augment"
    num_ops: int = Field(2, gt=0, le=14)
    """Operations in a row."""
    magnitude: float = Field(9.0, ge=0, le=MAX_MAGNITUDE)
    """Strength: 30 is the strongest of every operation."""
    magnitude_spread: float = Field(0.0, ge=0)
    """Standard deviation of the magnitude, which is drawn for each operation."""
    op_probability: float = Field(1.0, ge=0, le=1)
    """Share of the drawn operations that are carried out."""
    ops: Annotated[tuple[OperationName, ...], Field(min_length=1)] = get_args(OperationName)
    """What is drawn from."""
    interpolation: Interpolation = "bilinear"
    """Of what moves pixels. torchvision's default is nearest."""
    fill: float = Field(128.0, ge=0, le=255)
    """Grey level of what comes in from outside the picture. torchvision's default is 0."""

    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        from kinoray.transforms.operations import Edges
        from kinoray.transforms.pieces import change_some

        edges = Edges(self.interpolation, self.fill)
        for _ in range(self.num_ops):
            drawn = [self.draw(rng) for rng in rngs]
            for name in dict.fromkeys(name for name, _ in drawn if name != "identity"):
                which = [place for place, (other, _) in enumerate(drawn) if other == name]
                change_some(clips, which, partial(_operated, name, [drawn[place][1] for place in which], edges))
        return clips

    def draw(self, rng: np.random.Generator) -> tuple[OperationName, float]:
        """An operation and its strength -1..1; always the same number of draws."""
        chance, choice, sign = rng.random(3)
        magnitude = self.magnitude + self.magnitude_spread * rng.standard_normal()
        strength = min(max(magnitude / MAX_MAGNITUDE, 0.0), 1.0)
        name = self.ops[int(choice * len(self.ops))] if chance < self.op_probability else "identity"
        return name, -strength if name in get_args(SignedOperationName) and sign < 0.5 else strength


class RandomErasing(AugmentationConfig):
    """Overwrite a random box, a cube over time. Source: arXiv 1708.04896."""

    kind: Literal["random_erasing"] = "random_erasing"
    probability: float = Field(0.25, ge=0, le=1)
    """Share of the clips that are changed."""
    scale: tuple[float, float] = (0.02, 1 / 3)
    """Range of the box's share of the picture's area."""
    ratio: tuple[float, float] = (0.3, 10 / 3)
    """Range of the box's width / height."""
    fill: Literal["noise"] | float = "noise"
    """What the box becomes: a random level for each pixel and channel, or one grey level 0..255."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        check_box_ranges(self.scale, self.ratio)
        if isinstance(self.fill, float) and not 0 <= self.fill <= 255:
            raise ValueError(f"fill, got {self.fill:g}; it should be 'noise' or a grey level 0..255")
        return self

    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        from kinoray.transforms.erasing import erase_, erase_with_noise_

        height, width = clips.shape[-2:]
        for clip, rng in zip(clips, rngs, strict=True):
            box = random_resized_box(height, width, self.scale, self.ratio, rng)
            if isinstance(self.fill, float):
                erase_(clip, box, self.fill)
            else:
                erase_with_noise_(clip, box, rng)
        return clips


def _factors(strength: float, draws: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """From draws of -1..1: factors of 1 - strength, but at least 0, to 1 + strength."""
    low, high = max(1 - strength, 0.0), 1 + strength
    factors: list[float] = (low + (high - low) * (draws + 1) / 2).tolist()
    return factors


def _operated(name: OperationName, strengths: Sequence[float], edges: Edges, clips: Tensor) -> Tensor:
    from kinoray.transforms.operations import OPERATIONS

    OPERATIONS[name](clips, strengths, edges)
    return clips
