"""The table of augmentations, the base of their configurations, and how videos are mixed. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, NonNegativeFloat, model_validator

from kinoray.config.base import Config
from kinoray.config.kinds import KindConfig, KindTable

if TYPE_CHECKING:
    from torch import Tensor


class AugmentationConfig(KindConfig):
    """Base of what changes the pixels of a clip: all its frames in the same way."""

    probability: float = Field(1.0, ge=0, le=1)
    """Share of the clips that are changed."""

    @abstractmethod
    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        """Changed clips.

        Args:
            clips: ``(B, C, T, H, W)`` float32, RGB in grey levels 0..255, contiguous; may be written in place.
            rngs: B of them. A clip draws from its own alone, so that it comes out the same in any batch.

        Returns:
            The same shape and range.
        """


class MixConfig(Config):
    """Pairs of videos that become one: blended (mixup), or a box of one put into the other (cutmix).

    Each is the alpha of a Beta(alpha, alpha), from which a video's share in itself is drawn; 0 is never. Where both are
    above 0, they are equally likely.
    """

    mixup: NonNegativeFloat = 0.0
    """Source: arXiv 1710.09412."""
    cutmix: NonNegativeFloat = 0.0
    """The box is the same in all frames.   Source: arXiv 1905.04899."""
    probability: float = Field(1.0, ge=0, le=1)
    """Share of the videos that are mixed."""

    @model_validator(mode="after")
    def _mixes(self) -> Self:
        if not self.mixup and not self.cutmix:
            raise ValueError("mixup or cutmix: both are 0; set one above 0, or leave training.mix out")
        return self


AUGMENTATIONS = KindTable(
    what="augmentation",
    base=AugmentationConfig,
    kinds={
        "colour_jitter": "kinoray.transforms.augmentations:ColourJitter",
        "grayscale": "kinoray.transforms.augmentations:Grayscale",
        "gaussian_blur": "kinoray.transforms.augmentations:GaussianBlur",
        "rand_augment": "kinoray.transforms.augmentations:RandAugment",
        "random_erasing": "kinoray.transforms.augmentations:RandomErasing",
    },
)
AnyAugmentation = Annotated[AugmentationConfig, AUGMENTATIONS]
