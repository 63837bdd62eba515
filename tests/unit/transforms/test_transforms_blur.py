import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms.v2 import functional as reference

from kinoray.transforms.augmentations import GaussianBlur
from kinoray.transforms.blur import gaussian_blur_


@pytest.mark.parametrize("kernel_size", [3, 9, 15])
def test_it_computes_what_torchvision_computes(kernel_size, clips):
    sigmas = [0.1, 0.8, 2.5]
    changed = clips.clone()
    gaussian_blur_(changed, sigmas, kernel_size)
    for before, after, sigma in zip(clips, changed, sigmas, strict=True):
        expected = reference.gaussian_blur(before.movedim(1, 0), [kernel_size] * 2, [sigma] * 2).movedim(0, 1)
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-3)


def test_the_width_is_drawn_from_its_range(clips):
    narrow, wide = (
        GaussianBlur(sigma=(sigma, sigma)).apply(clips.clone(), [np.random.default_rng(0)] * 3) for sigma in (0.2, 2.0)
    )
    drawn = GaussianBlur(sigma=(0.2, 2.0)).apply(clips.clone(), [np.random.default_rng(0)] * 3)
    assert wide[1].std() < drawn[1].std() < narrow[1].std()


@pytest.mark.parametrize("wrong", [{"sigma": (0, 1)}, {"sigma": (2, 1)}, {"kernel_size": 4}, {"kernel_size": 17}])
def test_what_cannot_be_is_told(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GaussianBlur(**wrong)
