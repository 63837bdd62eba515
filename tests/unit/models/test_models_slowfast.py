from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from kinoray.models.slowfast import (
    SlowFast,
    SlowFastConfig,
    slowfast_r50_4x16,
    slowfast_r50_8x8,
    slowfast_r101_8x8,
    slowfast_r101_r50_4x16,
)


def small(**settings: object) -> SlowFast:
    torch.manual_seed(0)
    small_size = {"num_classes": 3, "depth": 18, "width": 8, "channel_ratio": 4, "speed_ratio": 4}
    return SlowFastConfig.model_validate({**small_size, **settings}).build()


def test_slow_pathway_sees_one_frame_in_alpha() -> None:
    backbone = small().backbone.eval()
    slow, fast = backbone(torch.randn(2, 3, 8, 64, 96))
    assert slow.shape == (2, 64, 2, 2, 3)
    assert fast.shape == (2, 16, 8, 2, 3)


@pytest.mark.parametrize("num_frames", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("fusion_kernel", [1, 5, 7])
def test_any_number_of_frames(num_frames: int, fusion_kernel: int) -> None:
    model = small(fusion_kernel=fusion_kernel).eval()
    slow, fast = model.backbone(torch.randn(1, 3, num_frames, 32, 32))
    assert (slow.shape[2], fast.shape[2]) == (-(-num_frames // 4), num_frames)


def test_frames_between_the_slow_ones_reach_the_slow_pathway_by_the_laterals() -> None:
    backbone = small().backbone.eval()
    clip = torch.randn(1, 3, 8, 32, 32)
    changed = clip.clone()
    changed[:, :, 2] += 1
    with torch.inference_mode():
        assert not torch.allclose(backbone(clip)[0], backbone(changed)[0])
        for lateral in backbone.laterals:
            lateral.weight.zero_()
        assert torch.equal(backbone(clip)[0], backbone(changed)[0])


def test_pathways_of_unlike_depth_fit() -> None:
    model = small(depth=50, fast_depth=18).eval()
    assert model(torch.zeros(1, 1, 3, 4, 32, 32, dtype=torch.uint8)).shape == (1, 1, 3)
    assert model.fc.in_features == 4 * 64 + 16


def test_features_are_pooled() -> None:
    assert small().eval().forward_features(torch.zeros(2, 3, 8, 32, 32)).shape == (2, 80)


def test_any_number_of_channels() -> None:
    model = small(mean=(128.0, 128.0), std=(64.0, 64.0)).eval()
    assert model(torch.zeros(1, 1, 2, 4, 32, 32, dtype=torch.uint8)).shape == (1, 1, 3)


def test_fresh_weights() -> None:
    model = small(width=64)
    lateral = model.backbone.laterals[3].weight
    fan_out = lateral.shape[0] * 5
    assert lateral.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert not model.backbone.slow.layer1[0].conv2.bn.weight.any()
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not model.fc.bias.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 49}, "depth"),
        ({"fusion_kernel": 4}, "fusion_kernel: even, got 4"),
        ({"channel_ratio": 7}, "channel_ratio: does not divide width 64, got 7"),
        ({"speed_ratio": 0}, "speed_ratio"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SlowFastConfig.model_validate({"num_classes": 3, **settings})


@pytest.mark.parametrize(
    ("builder", "speed_ratio", "fusion_kernel", "num_blocks"),
    [
        (slowfast_r50_4x16, 8, 5, (6, 6)),
        (slowfast_r50_8x8, 4, 7, (6, 6)),
        (slowfast_r101_8x8, 4, 7, (23, 23)),
        (slowfast_r101_r50_4x16, 8, 5, (23, 6)),
    ],
)
def test_builders_are_the_published_sizes(
    builder: Callable[[int], SlowFast], speed_ratio: int, fusion_kernel: int, num_blocks: tuple[int, int]
) -> None:
    with torch.device("meta"):
        model = builder(101)
    lateral = model.backbone.laterals[0]
    assert (lateral.stride[0], lateral.kernel_size[0]) == (speed_ratio, fusion_kernel)
    assert (len(model.backbone.slow.layer3), len(model.backbone.fast.layer3)) == num_blocks
    assert model.fc.weight.shape == (101, 2304)
