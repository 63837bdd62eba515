"""Joints and limbs as bell curves."""

import math

import pytest
import torch

from kinoray.transforms.heatmaps import joint_heatmaps, limb_heatmaps, with_mirrored

SIDE, SIGMA = 16, 0.6


def one_frame(*joints):
    """``(1, 1, 1, V, 3)`` of one person."""
    return torch.tensor(joints, dtype=torch.float32)[None, None, None]


def bell_by_hand(x, y, score, sigma):
    expected = torch.zeros(SIDE, SIDE)
    for row in range(max(0, int(y - 3 * sigma)), min(SIDE, int(y + 3 * sigma) + 1)):
        for column in range(max(0, int(x - 3 * sigma)), min(SIDE, int(x + 3 * sigma) + 1)):
            expected[row, column] = score * math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return expected


@pytest.mark.parametrize("place", [(5, 9), (7.3, 2.8), (0.3, 15.6), (15, 0)])
@pytest.mark.parametrize("sigma", [0.6, 1.5])
def test_a_joint_is_a_bell_curve(place, sigma):
    maps = joint_heatmaps(one_frame((*place, 0.8)), SIDE, sigma)
    assert maps.shape == (1, 1, 1, SIDE, SIDE)
    torch.testing.assert_close(maps[0, 0, 0], bell_by_hand(*place, 0.8, sigma))


def test_each_joint_and_frame_has_its_own_map():
    points = torch.zeros(2, 1, 3, 4, 3)
    points[1, 0, 2, 3] = torch.tensor([4, 5, 1.0])
    maps = joint_heatmaps(points, SIDE, SIGMA)
    assert maps.shape == (2, 4, 3, SIDE, SIDE)
    assert maps[1, 3, 2, 5, 4] == 1
    maps[1, 3, 2] = 0
    assert not maps.any()


def test_of_persons_the_larger_value_shows():
    both = torch.cat([one_frame((5, 5, 0.5)), one_frame((6, 5, 0.9))], dim=1)
    alone = [joint_heatmaps(both[:, [person]], SIDE, SIGMA) for person in (0, 1)]
    assert torch.equal(joint_heatmaps(both, SIDE, SIGMA), torch.maximum(*alone))


@pytest.mark.parametrize("joint", [(5, 5, 0.0), (5, 5, 1e-5), (-40, 5, 1.0), (5, 99, 1.0)])
def test_what_is_unsure_or_outside_is_not_drawn(joint):
    assert not joint_heatmaps(one_frame(joint), SIDE, SIGMA).any()
    assert not limb_heatmaps(one_frame(joint, joint), [(0, 1)], SIDE, SIGMA).any()


def test_a_limb_is_a_ridge():
    ridge = limb_heatmaps(one_frame((3, 8, 1.0), (12, 8, 0.7)), [(0, 1)], SIDE, SIGMA)[0, 0, 0]
    torch.testing.assert_close(ridge[8, 3:13], torch.full((10,), 0.7))  # the lesser score, all along
    torch.testing.assert_close(ridge[7, 3:13], torch.full((10,), 0.7 * math.exp(-1 / (2 * SIGMA**2))))
    assert ridge[8, 2] == pytest.approx(0.7 * math.exp(-1 / (2 * SIGMA**2)))
    assert not ridge[8, 14:].any()


def test_a_short_limb_is_its_first_joint():
    near = one_frame((5.0, 5.0, 1.0), (5.2, 5.1, 1.0))
    torch.testing.assert_close(
        limb_heatmaps(near, [(0, 1)], SIDE, SIGMA), joint_heatmaps(near[..., :1, :], SIDE, SIGMA)
    )


@pytest.mark.parametrize("ends", [((3, 8, 1.0), (12, 8, 0.0)), ((3, 8, 0.0), (3.1, 8, 1.0))])
def test_a_limb_of_an_unsure_joint_is_not_drawn(ends):
    assert not limb_heatmaps(one_frame(*ends), [(0, 1)], SIDE, SIGMA).any()


def test_views_and_then_their_mirror_images():
    maps = torch.rand(2, 3, 4, 5, 6, 7)
    both = with_mirrored(maps, [0, 2, 1, 3])
    assert both.shape == (2, 6, 4, 5, 6, 7)
    assert torch.equal(both[:, :3], maps)
    assert torch.equal(both[:, 3:, 1], maps[:, :, 2].flip(-1))
