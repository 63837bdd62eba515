"""Makes ``helpers`` importable, which plays the user's own package, and gives clips to change."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture
def clips():
    """(3, 3, 4, 20, 26) float32 of whole grey levels: a smooth clip, noise, and one of few colours."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 2, 4, 5, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=(4, 20, 26), mode="trilinear").round()
    noise = torch.randint(0, 256, (1, 3, 4, 20, 26), generator=generator).float()
    flat = torch.tensor([0.0, 255.0, 90.0]).view(1, 3, 1, 1, 1).expand_as(noise).clone()
    flat[..., :8] = 90
    return torch.cat([smooth, noise, flat])
