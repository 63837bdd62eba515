import pytest
import torch
from pydantic import ValidationError
from torch import nn

from kinoray.models.tsn import TSN, TSNConfig, tsn_r50


def small(**settings: object) -> TSN:
    return TSNConfig.model_validate({"num_classes": 3, "backbone": "resnet18", **settings}).build()


def clips(num_frames: int = 2) -> torch.Tensor:
    shape = (2, 1, 3, num_frames, 32, 32)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def norms_in_training(model: TSN) -> list[bool]:
    return [module.training for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)]


def trained_parts(model: TSN) -> set[str]:
    return {name.split(".")[1] for name, value in model.backbone.named_parameters("backbone") if value.requires_grad}


def test_order_and_repetition_of_frames_change_nothing() -> None:
    model = small().eval()
    video = clips(num_frames=3)
    with torch.inference_mode():
        expected = model(video)
        torch.testing.assert_close(model(video.flip(3)), expected)
        torch.testing.assert_close(model(video.repeat_interleave(2, dim=3)), expected)


def test_score_is_the_mean_of_the_frames_scores() -> None:
    model = small().eval()
    video = clips(num_frames=3)
    with torch.inference_mode():
        frames = torch.stack([model(video[:, :, :, t : t + 1]) for t in range(3)])
        torch.testing.assert_close(model(video), frames.mean(0))


def test_features_keep_time() -> None:
    features = small().eval().forward_features(clips()[:, 0].float())
    assert features.shape == (2, 512, 2, 1, 1)


def test_everything_is_trained_unless_told_otherwise() -> None:
    model = small().train()
    assert all(norms_in_training(model))
    assert all(value.requires_grad for value in model.parameters())
    assert not any(norms_in_training(model.eval()))


def test_norm_eval_holds_statistics_only() -> None:
    model = small(norm_eval=True).train()
    before = model.backbone.get_buffer("bn1.running_mean").clone()
    model(clips())

    assert not any(norms_in_training(model))
    assert torch.equal(model.backbone.get_buffer("bn1.running_mean"), before)
    assert all(value.requires_grad for value in model.parameters())


def test_partial_bn_trains_the_first_norm_alone() -> None:
    model = small(partial_bn=True).train()
    first, *others = norms_in_training(model)
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]

    assert first
    assert not any(others)
    assert len(frozen) == 2 * len(others)
    assert "backbone.bn1.weight" not in frozen


def test_partial_bn_outlives_a_change_of_norms() -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(small(partial_bn=True)).train()
    training = [module.training for module in model.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert training == [True] + [False] * 19


@pytest.mark.parametrize(
    ("frozen_stages", "expected"),
    [
        (-1, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        (0, {"layer1", "layer2", "layer3", "layer4"}),
        (2, {"layer3", "layer4"}),
        (4, set()),
    ],
)
def test_frozen_stages(frozen_stages: int, expected: set[str]) -> None:
    model = small(frozen_stages=frozen_stages).train()
    assert trained_parts(model) == expected
    assert model.backbone.get_submodule("layer4").training == ("layer4" in expected)
    assert model.fc.weight.requires_grad


def test_classifier_starts_small() -> None:
    fc = small().fc
    assert fc.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not fc.bias.any()


def test_any_number_of_channels() -> None:
    model = small(mean=(128.0,) * 10, std=(128.0,) * 10)
    assert model(torch.zeros(1, 1, 10, 2, 32, 32, dtype=torch.uint8)).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet51"}, "resnet50"),
        ({"backbone": "resnet18", "pretrained": "IMAGENET1K_V2"}, "no weights of resnet18.*IMAGENET1K_V1, DEFAULT"),
        ({"frozen_stages": 5}, "frozen_stages"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TSNConfig.model_validate({"num_classes": 3, **settings})


def test_builder_is_the_published_size() -> None:
    with torch.device("meta"):
        assert tsn_r50(174).fc.weight.shape == (174, 2048)
