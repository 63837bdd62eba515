import pytest
import torch

from kinoray.models.layers.resnet2d import resnet2d


def test_trunk_ends_before_the_pool() -> None:
    trunk, width = resnet2d("resnet18")
    assert trunk(torch.zeros(2, 3, 64, 32)).shape == (2, width, 2, 1)
    assert [name for name, _ in trunk.named_children()][-1] == "layer4"


def test_fresh_stem_for_other_channels_has_the_usual_spread() -> None:
    trunk, _ = resnet2d("resnet18", in_channels=10)
    std = trunk.state_dict()["conv1.weight"].std().item()
    assert std == pytest.approx((2 / (64 * 7 * 7)) ** 0.5, rel=0.05)
