"""Every operation of RandAugment against torchvision's, on uint8."""

from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms import InterpolationMode
from torchvision.transforms import autoaugment as reference

from kinoray.transforms.augmentations import OperationName, RandAugment, SignedOperationName
from kinoray.transforms.operations import OPERATIONS, Edges

TWO_WAYS = get_args(SignedOperationName)
NAMES = {
    "identity": "Identity", "brightness": "Brightness", "colour": "Color", "contrast": "Contrast",
    "sharpness": "Sharpness", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "posterize": "Posterize", "solarize": "Solarize",
    "autocontrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip
# Grey levels. torchvision cuts fractions off, of luma too, and bilinear weights differ in the last bit of a float.
BOUNDS = dict.fromkeys(NAMES, 0) | {
    "brightness": 1, "colour": 2, "contrast": 2, "sharpness": 1, "autocontrast": 1, "shear_x": 1, "shear_y": 1,
    "rotate": 1,
}  # fmt: skip
LOOKS_AT_PLACES = {"shear_x", "shear_y", "translate_x", "translate_y", "rotate", "sharpness"}


def changed(name, clips, strength, interpolation="bilinear", fill=0.0):
    result = clips.clone()
    OPERATIONS[name](result, [strength] * len(clips), Edges(interpolation, fill))
    return result


def test_the_operations_are_torchvisions():
    assert set(OPERATIONS) == set(NAMES) == set(get_args(OperationName))
    space = reference.RandAugment()._augmentation_space(31, (20, 26))
    assert set(NAMES.values()) == set(space)
    assert {NAMES[name] for name in TWO_WAYS} == {name for name, (_, is_signed) in space.items() if is_signed}


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_torchvisions(name, interpolation, clips):
    magnitudes, is_signed = reference.RandAugment()._augmentation_space(31, tuple(clips.shape[-2:]))[NAMES[name]]
    for step in (0, 5, 9, 22, 30):
        magnitude = float(magnitudes[step]) if magnitudes.ndim else 0.0
        for sign in (1, -1) if is_signed else (1,):
            ours = changed(name, clips, sign * step / 30, interpolation).round().int()
            for before, after in zip(clips.to(torch.uint8), ours, strict=True):
                pictures = before.movedim(1, 0) if name in LOOKS_AT_PLACES else before.flatten(1, 2)
                theirs = reference._apply_op(
                    pictures, NAMES[name], sign * magnitude, InterpolationMode(interpolation), None
                )
                theirs = theirs.movedim(0, 1) if name in LOOKS_AT_PLACES else theirs.view_as(before)
                assert (after - theirs.int()).abs().max() <= BOUNDS[name]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"autocontrast", "equalize"}))
def test_no_strength_is_identity(name, clips):
    below_white = clips.clamp(max=254)  # solarize inverts white even at strength 0, as torchvision does
    torch.testing.assert_close(changed(name, below_white, 0.0), below_white, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "translate_y"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_what_comes_in_from_outside_is_the_fill(name, interpolation):
    grey = torch.full((1, 3, 2, 20, 26), 77.0)
    torch.testing.assert_close(changed(name, grey, 0.8, interpolation, fill=77.0), grey)
    mixed = changed(name, grey, 0.8, interpolation, fill=200.0).round()
    assert mixed.min() == 77
    assert mixed.max() == 200
    if interpolation == "nearest":
        assert set(mixed.flatten().tolist()) == {77, 200}


def test_every_operation_is_drawn_as_often():
    config = RandAugment()
    drawn = [config.draw(np.random.default_rng(seed)) for seed in range(2800)]
    counts = {name: sum(other == name for other, _ in drawn) for name in NAMES}
    assert min(counts.values()) > 150
    assert max(counts.values()) < 250
    signs = [strength > 0 for name, strength in drawn if name in TWO_WAYS]
    assert 0.45 < np.mean(signs) < 0.55
    assert {round(abs(strength) * 30, 9) for _, strength in drawn} == {9.0}


def test_the_magnitude_spreads_and_stays_in_range():
    config = RandAugment(magnitude=28, magnitude_spread=5)
    strengths = np.array([abs(config.draw(np.random.default_rng(seed))[1]) * 30 for seed in range(500)])
    assert strengths.max() == 30
    assert 4 < strengths[strengths < 28].std() * 2 < 8


def test_ops_and_their_probability():
    config = RandAugment(ops=("rotate",), op_probability=0.25)
    names = [config.draw(np.random.default_rng(seed))[0] for seed in range(400)]
    assert set(names) == {"identity", "rotate"}
    assert 70 < names.count("rotate") < 130
    with pytest.raises(ValidationError, match=r"'brightness', 'colour', .* or 'equalize'"):
        RandAugment(ops=("rotat",))


def test_clips_of_a_batch_take_their_own_operations(clips):
    config = RandAugment(num_ops=3, magnitude=20)
    seeds = (3, 4, 5)
    together = config.apply(clips.clone(), [np.random.default_rng(seed) for seed in seeds])
    for clip, seed, result in zip(clips, seeds, together, strict=True):
        alone = config.apply(clip[None].clone(), [np.random.default_rng(seed)])
        torch.testing.assert_close(result, alone[0], rtol=0, atol=1e-2)
