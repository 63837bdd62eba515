import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.torchvision_video import NETWORKS, TorchvisionVideo, TorchvisionVideoConfig, mvit_v2_s, r2plus1d_18
from kinoray.models.weights import warm_start


def build(**settings: object) -> TorchvisionVideo:
    torch.manual_seed(0)
    return TorchvisionVideoConfig.model_validate({"num_classes": 3, "network": "mc3_18", **settings}).build()


def video(num_frames: int = 4, side: int = 32) -> Tensor:
    shape = (1, 2, 3, num_frames, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_scores_are_those_of_torchvision() -> None:
    theirs = torchvision.models.get_model("mc3_18", num_classes=3).eval()
    model = build()
    report = warm_start(model, theirs.state_dict(), where="weights")
    assert (report.names, report.fresh, report.unused) == ("torchvision", {}, ())

    pixels = video()[0].float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) / 255 for values in NETWORKS["mc3_18"].normalization)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(video())[0], theirs((pixels - mean) / std), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_names_and_normalization_are_those_of_the_weights(network: str) -> None:
    with torch.device("meta"):
        theirs, model = torchvision.models.get_model(network, num_classes=400), build(network=network, num_classes=400)
    assert model.fc.state_dict()
    renamed = {key: value.shape for key, value in model.state_dict().items()}
    (rules,) = model.key_rules().values()
    from kinoray.models.weights import rename_keys

    assert {key: value.shape for key, value in rename_keys(theirs.state_dict(), rules).items()} == renamed

    config = TorchvisionVideoConfig.model_validate({"num_classes": 400, "network": network})
    preset = torchvision.models.get_model_weights(network).DEFAULT.transforms()
    assert config.mean == pytest.approx([255 * value for value in preset.mean])
    assert config.std == pytest.approx([255 * value for value in preset.std])
    named = {id(part) for stage in model.parts_by_depth() for part in stage for part in part.modules()}
    aside = {id(part) for part in model.fc.modules()}
    weighted = {id(part) for part in model.modules() if next(part.parameters(recurse=False), None) is not None}
    whole = {id(model.backbone)}  # swin's own tables lie in its blocks, MViT's in none
    assert weighted - named - aside - whole == set()


def test_the_classifier_of_s3d_is_a_convolution() -> None:
    model = build(network="s3d").eval()
    convolution = model.fc.get_submodule("1")
    assert isinstance(convolution, nn.Conv3d)
    features = torch.randn(2, 1024)
    expected = nn.functional.linear(features, convolution.weight.flatten(1), convolution.bias)
    torch.testing.assert_close(model.forward_head(features), expected)


@pytest.mark.parametrize(
    ("network", "clips", "message"),
    [
        ("mvit_v2_s", video(8, 32), "MViT takes views of 16x224x224, got 8x32x32"),
        ("s3d", video(8, 32), "S3D takes views of 14x224x224 or more, got 8x32x32"),
    ],
)
def test_views_of_a_wrong_size_are_named(network: str, clips: Tensor, message: str) -> None:
    with torch.device("meta"):
        model = build(network=network)
    with pytest.raises(ConfigError, match=message):
        model.forward_features(clips[0].to("meta"))


def test_a_normalization_of_ones_own() -> None:
    config = TorchvisionVideoConfig(num_classes=3, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    assert (config.mean, config.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


def test_builders_are_the_published_networks() -> None:
    with torch.device("meta"):
        assert (r2plus1d_18(5).known, mvit_v2_s(5).known) == (NETWORKS["r2plus1d_18"], NETWORKS["mvit_v2_s"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "r4d"}, "r3d_18"),
        ({"network": "mvit_v2_s", "pretrained": "KINETICS400_V9"}, "no weights of mvit_v2_s.*KINETICS400_V1"),
        ({"mean": (1.0,), "std": (1.0,)}, "see 3 channels, got 1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TorchvisionVideoConfig.model_validate({"num_classes": 3, **settings})
