"""An augmentation."""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kinoray.transforms.kinds import AugmentationConfig


class Fade(AugmentationConfig):
    """The light changes evenly from the first frame to the last."""

    kind: str = "my_package.augment:Fade"
    strength: float = Field(0.3, ge=0, lt=1)
    """Largest change, as a share of the light."""

    def apply(self, clips: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        """``(B, C, T, H, W)`` float32 in 0..255; each clip draws from the generator that is its own."""
        changes = clips.new_tensor([rng.uniform(-self.strength, self.strength) for rng in rngs])
        time = torch.linspace(-1, 1, clips.shape[2], device=clips.device)
        light = 1 + changes[:, None] * time
        return (clips * light[:, None, :, None, None]).clamp(0, 255)
