import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kinoray.transforms.augmentations import RandomErasing


def erased(config, count=200, height=20, width=30):
    """(count, T, H, W): where clips of level -1 were overwritten."""
    clips = torch.full((count, 3, 2, height, width), -1.0)
    result = config.apply(clips, [np.random.default_rng(seed) for seed in range(count)])
    overwritten = result != -1
    assert (overwritten.all(1) == overwritten.any(1)).all()
    return result, overwritten[:, 0]


def test_the_box_is_the_same_in_all_frames_and_of_the_right_size():
    _, where = erased(RandomErasing())
    assert (where[:, 0] == where[:, 1]).all()
    rows, columns = (where[:, 0].any(axis).sum(1) for axis in (2, 1))
    areas = where[:, 0].sum((1, 2))
    assert (areas == rows * columns).all()
    shares = areas / 600
    # Sides are whole pixels.
    assert 0.012 < shares.min() < 0.06
    assert 0.27 < shares.max() < 0.37
    assert len({tuple(np.argwhere(box.numpy())[0]) for box in where[:, 0]}) > 100


def test_noise_covers_all_levels_and_does_not_flicker():
    result, where = erased(RandomErasing())
    assert (result[:, :, 0] == result[:, :, 1]).all()
    levels = result[:, 0][where]
    assert levels.min() == 0
    assert levels.max() == 255
    assert 120 < levels.mean() < 135


def test_one_level():
    result, where = erased(RandomErasing(fill=0), count=5)
    assert set(result[:, 1][where].tolist()) == {0.0}


@pytest.mark.parametrize("wrong", [{"scale": (0, 0.3)}, {"ratio": (2, 1)}, {"fill": 300}, {"fill": "black"}])
def test_what_cannot_be_is_told(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RandomErasing(**wrong)
