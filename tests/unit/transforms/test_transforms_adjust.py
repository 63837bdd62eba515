import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from kinoray.transforms.adjust import (
    adjust_brightness_,
    adjust_contrast_,
    adjust_hue_,
    adjust_saturation_,
    grayscale_,
)
from kinoray.transforms.augmentations import ColourJitter

FACTORS = [0.0, 0.3, 1.0, 1.7]
ADJUST = [
    (adjust_brightness_, reference.adjust_brightness, FACTORS),
    (adjust_contrast_, reference.adjust_contrast, FACTORS),
    (adjust_saturation_, reference.adjust_saturation, FACTORS),
    (adjust_hue_, reference.adjust_hue, [-0.5, -0.2, 0.0, 0.1, 0.5]),
]


def as_one_picture(clip):
    """(C, T, H, W) -> (C, T * H, W): what torchvision measures of it is measured of the whole clip."""
    return clip.flatten(1, 2)


@pytest.mark.parametrize(("adjust", "adjust_reference", "numbers"), ADJUST)
def test_it_computes_what_torchvision_computes_with_floats(adjust, adjust_reference, numbers, clips):
    for number in numbers:
        changed = clips.clone()
        adjust(changed, [number] * 3)
        for before, after in zip(clips, changed, strict=True):
            expected = adjust_reference(as_one_picture(before) / 255, number) * 255
            torch.testing.assert_close(as_one_picture(after), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("adjust", "adjust_reference", "numbers"), ADJUST)
def test_uint8_of_torchvision_is_at_most_two_levels_away(adjust, adjust_reference, numbers, clips):
    """It cuts fractions off, of luma too, where we round once."""
    for number in numbers:
        changed = clips.clone()
        adjust(changed, [number] * 3)
        for before, after in zip(clips.to(torch.uint8), changed, strict=True):
            expected = adjust_reference(as_one_picture(before), number)
            assert (as_one_picture(after).round() - expected).abs().max() <= 2


@pytest.mark.parametrize(("adjust", "_", "numbers"), ADJUST)
def test_every_clip_has_its_own_number(adjust, _, numbers, clips):
    changed = clips.clone()
    adjust(changed, numbers[1:4])
    for number, before, after in zip(numbers[1:4], clips, changed, strict=True):
        alone = before[None].clone()
        adjust(alone, [number])
        torch.testing.assert_close(after, alone[0], rtol=0, atol=1e-3)


def test_grayscale_is_torchvisions(clips):
    changed = clips.clone()
    grayscale_(changed)
    for before, after in zip(clips, changed, strict=True):
        expected = reference.rgb_to_grayscale(as_one_picture(before), num_output_channels=3)
        torch.testing.assert_close(as_one_picture(after), expected, rtol=0, atol=1e-3)


def test_factors_are_spread_evenly_over_their_range():
    means = []
    for seed in range(400):
        grey = torch.full((1, 3, 1, 2, 2), 100.0)
        ColourJitter(brightness=0.4).apply(grey, [np.random.default_rng(seed)])
        means.append(grey.mean().item())
    counts, _ = np.histogram(means, bins=4, range=(60, 140))
    assert counts.sum() == 400
    assert counts.min() > 70


def test_a_factor_is_never_below_zero():
    grey = torch.full((400, 3, 1, 1, 1), 100.0)
    ColourJitter(brightness=1.5).apply(grey, [np.random.default_rng(seed) for seed in range(400)])
    assert 0 <= grey.min() < 5
    assert 245 < grey.max() <= 250


def test_nothing_is_drawn_anew_when_another_strength_is_set(clips):
    alone, together = clips.clone(), clips.clone()
    ColourJitter(hue=0.2).apply(alone, [np.random.default_rng(seed) for seed in range(3)])
    ColourJitter(hue=0.2, saturation=1e-9).apply(together, [np.random.default_rng(seed) for seed in range(3)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-2)
