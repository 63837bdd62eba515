"""2D networks of libraries under TSN and TSM."""

import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn

from kinoray.errors import CheckpointError, ConfigError, ResourceError
from kinoray.models.layers import library2d
from kinoray.models.layers.backbones2d import backbone2d
from kinoray.models.pretrained import has_source, is_weights_file, read_source, source_for
from kinoray.models.tsm import TemporalShift, TSMConfig
from kinoray.models.tsn import TSN, TSNConfig
from kinoray.models.weights import load_weights, rename_keys, warm_start


def small(backbone: str, **settings: object) -> TSN:
    torch.manual_seed(0)
    return TSNConfig.model_validate({"num_classes": 3, "backbone": backbone, **settings}).build()


def pictures(num_channels: int = 3, side: int = 64, num_frames: int = 2) -> Tensor:
    shape = (1, 1, num_channels, num_frames, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def as_upstream(model: TSN, clips: Tensor, features: nn.Module) -> Tensor:
    """The mean over pictures and frames of what a library's own network gives, scored."""
    frames = model.normalize(clips[0]).transpose(1, 2).flatten(0, 1)
    maps = features(frames)
    pooled = maps.mean(1) if maps.ndim == 3 else maps.mean((1, 2) if maps.shape[-1] == model.width else (2, 3))
    return model.fc(pooled.mean(0))


def assert_all_learn(model: TSN, clips: Tensor) -> None:
    model.train()(clips).square().sum().backward()
    trained = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    assert [name for name, grad in trained.items() if grad is None] == []


# --- torchvision


def test_densenet_is_that_of_mmaction2() -> None:
    """Its features as they are, without the last ReLU; keys as MMAction2 writes them."""
    model = small("torchvision:densenet121").eval()
    given = torchvision.models.densenet121().eval()
    checkpoint = {f"backbone.{key}": value for key, value in given.state_dict().items() if "classifier" not in key}
    checkpoint |= {f"cls_head.fc_cls.{key}": value for key, value in model.fc.state_dict().items()}
    report = load_weights(model, checkpoint, where="file.pth")
    assert (report.names, len(report.loaded)) == ("MMAction2", len(checkpoint))
    with torch.inference_mode():
        expected = as_upstream(model, pictures(), given.features)
        torch.testing.assert_close(model(pictures())[0, 0], expected)


def test_densenet161_has_the_published_head() -> None:
    with torch.device("meta"):
        model = small("torchvision:densenet161", num_classes=400)
    assert model.fc.in_features == 2208
    assert [len(stage) for stage in model.parts_by_depth()] == [1] * 10


def test_old_names_of_densenets_are_known() -> None:
    with torch.device("meta"):
        model, given = small("torchvision:densenet121"), torchvision.models.densenet121().state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for key, value in given.items()}
    renamed = rename_keys(old, model.key_rules()["torchvision"])
    assert model.state_dict().keys() - renamed.keys() == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mnasnet0_5", "squeezenet1_1", "regnet_y_400mf"])
def test_networks_of_every_build(name: str) -> None:
    model = small(f"torchvision:{name}", mean=(128.0,) * 2, std=(128.0,) * 2)
    assert_all_learn(model, pictures(2))
    assert model.eval()(pictures(2)).shape == (1, 1, 3)
    assert model.parts_by_depth()


def test_outlines_of_transformers() -> None:
    with torch.device("meta"):
        widths = [backbone2d(f"torchvision:{name}").width for name in ("swin_t", "vit_b_32")]
    assert widths == [768, 768]


def test_resnext101_32x4d_has_the_keys_of_mmpretrain() -> None:
    with torch.device("meta"):
        model = small("resnext101_32x4d", num_classes=400)
    names = {key for key in model.state_dict() if key.startswith("backbone.layer1.0.") and key.endswith("weight")}
    parts = ("bn1", "bn2", "bn3", "conv1", "conv2", "conv3", "downsample.0", "downsample.1")
    assert names == {f"backbone.layer1.0.{part}.weight" for part in parts}
    assert model.backbone.get_parameter("layer1.0.conv2.weight").shape == (128, 4, 3, 3)
    assert sum(value.numel() for value in model.parameters()) == 42_948_304


def test_what_we_have_ourselves_is_taken() -> None:
    assert TSNConfig(num_classes=3, backbone="torchvision:resnet50").backbone == "resnet50"
    config = TSNConfig(num_classes=3, backbone="torchvision:densenet161", pretrained="IMAGENET1K_V1")
    assert source_for(config.pretrained, config.backbone) == "torchvision://DenseNet161_Weights.IMAGENET1K_V1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet51"}, "no backbone 'resnet51' .did you mean 'resnet50'.*timm:NAME"),
        ({"backbone": "keras:resnet50"}, "no backbone 'keras:resnet50'"),
        ({"backbone": "torchvision:densenet161", "pretrained": "V9"}, "no weights of densenet161, got 'V9'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TSNConfig.model_validate({"num_classes": 3, **settings})


def test_unknown_networks_are_named() -> None:
    with pytest.raises(ConfigError, match=r"got 'densnet161' .did you mean 'densenet161'"):
        small("torchvision:densnet161")
    with pytest.raises(ConfigError, match="no picture classifier of that name, got 'r3d_18'"):
        small("torchvision:r3d_18")


# --- TSM


def shifted(model: nn.Module) -> list[str]:
    return [name.removesuffix(".shift") for name, part in model.named_modules() if isinstance(part, TemporalShift)]


def tsm(backbone: str) -> nn.Module:
    return TSMConfig.model_validate({"num_classes": 3, "backbone": backbone, "num_frames": 4}).build()


def test_other_resnets_of_torchvision_are_shifted() -> None:
    with torch.device("meta"):
        assert len(shifted(tsm("torchvision:wide_resnet50_2"))) == 16


def test_networks_without_residual_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone: shifts go into residual blocks"):
        tsm("torchvision:squeezenet1_1")


# --- timm


def test_missing_timm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ResourceError, match=r"pip install 'kinoray\[timm\]'"):
        small("timm:resnet18")
    assert TSNConfig(num_classes=3, backbone="timm:resnet18").backbone == "timm:resnet18"


def test_swin_is_that_of_mmaction2() -> None:
    """Channels last, after its norm; keys as MMAction2 writes them."""
    timm = pytest.importorskip("timm")
    name = "swin_tiny_patch4_window7_224"
    model = small(f"timm:{name}").eval()
    given = timm.create_model(name, num_classes=0).eval()
    checkpoint = {f"backbone.{key}": value for key, value in given.state_dict().items()}
    checkpoint |= {f"cls_head.fc_cls.{key}": value for key, value in model.fc.state_dict().items()}
    report = load_weights(model, checkpoint, where="file.pth")
    assert (report.names, len(report.loaded)) == ("MMAction2", len(checkpoint))
    with torch.inference_mode():
        clips = pictures(side=224, num_frames=1)
        torch.testing.assert_close(model(clips)[0, 0], as_upstream(model, clips, given.forward_features))
    assert len(model.parts_by_depth()) == 6


def test_tokens_are_averaged() -> None:
    timm = pytest.importorskip("timm")
    model = small("timm:test_vit").eval()
    given = timm.create_model("test_vit", num_classes=0).eval()
    warm_start(model, given.state_dict(), where="timm")
    clips = pictures(side=160)
    with torch.inference_mode():
        torch.testing.assert_close(model(clips)[0, 0], as_upstream(model, clips, given.forward_features))


def test_what_follows_the_features_is_kept_and_not_trained() -> None:
    pytest.importorskip("timm")
    model = small("timm:test_convnext")
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert frozen
    assert all(name.startswith("backbone.network.head.") for name in frozen)
    assert_all_learn(model, pictures())


@pytest.mark.parametrize("name", ["test_resnet", "resnest14d"])
def test_resnets_of_timm_are_shifted(name: str) -> None:
    pytest.importorskip("timm")
    model = tsm(f"timm:{name}")
    places = shifted(model)
    assert places
    assert all(place.endswith(".conv1") for place in places)
    assert_all_learn(model, pictures(num_frames=4))


def test_unknown_networks_of_timm_are_named() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=r"got 'resnest50' .did you mean"):
        small("timm:resnest50")
    assert source_for("a1_in1k", "timm:resnet50") == "timm://resnet50.a1_in1k"
    assert is_weights_file("timm://resnet50.a1_in1k")
    assert has_source("timm://resnet50.a1_in1k")
    with pytest.raises(
        ConfigError, match=r"timm://resnet50\.a9_in1k: timm has no such weights; of resnet50 it has .*a1"
    ):
        read_source("timm://resnet50.a9_in1k")
    with pytest.raises(ConfigError, match="timm has no weights of resnet51"):
        read_source("timm://resnet51")


def test_weights_of_timm_start_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    made: list[dict[str, object]] = []

    def create(name: str, **settings: object) -> nn.Module:
        made.append({"name": name, **settings})
        torch.manual_seed(5)
        return timm.create_model(name.partition(".")[0])

    fake = SimpleNamespace(**{key: getattr(timm, key) for key in ("list_pretrained", "list_models", "models")})
    fake.create_model = create
    model = small("timm:resnet18")
    monkeypatch.setattr(library2d, "import_timm", lambda: fake)
    state = read_source("timm://resnet18.a1_in1k")
    report = warm_start(model, state, where="timm")
    assert made == [{"name": "resnet18.a1_in1k", "pretrained": True}]
    assert (report.names, list(report.fresh)) == ("timm", ["fc.weight", "fc.bias"])
    assert torch.equal(model.backbone.get_parameter("conv1.weight"), state["conv1.weight"])

    def fail(name: str, **settings: object) -> nn.Module:
        raise FileNotFoundError("no way out")

    fake.create_model = fail
    with pytest.raises(CheckpointError, match=r"timm://resnet18\.a1_in1k: cannot be fetched, got no way out"):
        read_source("timm://resnet18.a1_in1k")
