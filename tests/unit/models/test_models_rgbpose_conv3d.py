"""RGBPoseConv3D: what its two networks score, and what they tell each other."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kinoray.errors import ConfigError
from kinoray.models.rgbpose_conv3d import RGBPoseConv3D, RGBPoseConv3DConfig
from kinoray.transforms.paired import paired


@pytest.fixture(scope="module")
def model() -> RGBPoseConv3D:
    torch.manual_seed(0)
    config = RGBPoseConv3DConfig(num_classes=5, depth=18, width=8, pose_width=4, pose_blocks=(1, 1, 1), dropout=0.0)
    return config.build().eval()


@pytest.fixture
def pictures() -> Tensor:
    return torch.randint(256, (2, 3, 2, 32, 32), generator=torch.Generator().manual_seed(1)).float()


@pytest.fixture
def heatmaps() -> Tensor:
    return torch.rand((2, 17, 8, 8, 8), generator=torch.Generator().manual_seed(2))


def scores(model: RGBPoseConv3D, pictures: Tensor, heatmaps: Tensor) -> Tensor:
    """``(B, 2, K)``."""
    with torch.inference_mode():
        return model.scores_of_both(model.forward_features(paired(pictures, heatmaps)))


def test_probabilities_of_both_are_averaged(model: RGBPoseConv3D, pictures: Tensor, heatmaps: Tensor) -> None:
    with torch.inference_mode():
        logits = model(paired(pictures, heatmaps)[None])[0]

    averaged = scores(model, pictures, heatmaps).softmax(-1).mean(1)
    torch.testing.assert_close(logits.softmax(-1), averaged)
    torch.testing.assert_close(logits.exp(), averaged)


def test_in_training_each_has_its_own_loss(model: RGBPoseConv3D) -> None:
    features = torch.rand((3, sum(model.widths)), generator=torch.Generator().manual_seed(3))
    try:
        trained = model.train().forward_head(features)
    finally:
        model.eval()

    assert trained.shape == (3, 2, 5)
    assert model.loss_weights == (1.0, 1.0)
    rgb, pose = features.split(model.widths, dim=1)
    torch.testing.assert_close(trained, torch.stack([model.fc["rgb"](rgb), model.fc["pose"](pose)], dim=1))


def test_each_is_told_of_the_other(model: RGBPoseConv3D, pictures: Tensor, heatmaps: Tensor) -> None:
    before = scores(model, pictures, heatmaps)
    for other in (scores(model, pictures.flip(0), heatmaps), scores(model, pictures, heatmaps.flip(0))):
        assert not torch.isclose(other, before, rtol=1e-6, atol=0).all(dim=(0, 2)).any()


def test_views_of_other_sizes_are_seen_too(model: RGBPoseConv3D) -> None:
    assert scores(model, torch.zeros(1, 3, 3, 48, 40), torch.zeros(1, 17, 12, 12, 10)).shape == (1, 2, 5)


@pytest.mark.parametrize("num_heatmaps", [4, 16])
def test_views_of_another_number_of_heatmaps(model: RGBPoseConv3D, pictures: Tensor, num_heatmaps: int) -> None:
    clips = paired(pictures, torch.zeros(2, 17, num_heatmaps, 8, 8))
    with pytest.raises(ConfigError, match=r"takes 3 channels of pictures and 68 heatmaps for each, got views of"):
        model(clips[None])


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"std": (1.0,)}, r"std: needs one number per channel of mean \(3\), got 1"),
        ({"fusion_kernel": 4}, "fusion_kernel: even, got 4"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        RGBPoseConv3DConfig.model_validate({"num_classes": 5, **wrong})
