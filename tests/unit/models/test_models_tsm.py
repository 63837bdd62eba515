import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.tsm import TSM, NonLocalFrames, TemporalShift, TSMConfig, tsm_r50
from kinoray.models.tsn import TSNConfig
from kinoray.models.weights import load_weights, warm_start


def small(**settings: object) -> TSM:
    defaults: dict[str, object] = {"num_classes": 3, "backbone": "resnet14", "num_frames": 4}
    torch.manual_seed(0)
    return TSMConfig.model_validate(defaults | settings).build()


def video(num_frames: int = 4, side: int = 32) -> Tensor:
    shape = (1, 1, 3, num_frames, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shifted(model: nn.Module) -> list[str]:
    return [name.removesuffix(".shift") for name, part in model.named_modules() if isinstance(part, TemporalShift)]


def test_shift_on_numbers() -> None:
    """Two clips of three frames with four channels: frame t of clip b holds 100 b + 10 t + channel."""
    frames = torch.tensor([[100 * b + 10 * t + c for c in range(4)] for b in (1, 2) for t in (1, 2, 3)])
    moved = TemporalShift(num_frames=3, shift_div=4)(frames.float()[..., None, None])
    assert moved[..., 0, 0].tolist() == [
        [120, 0, 112, 113],
        [130, 111, 122, 123],
        [0, 121, 132, 133],
        [220, 0, 212, 213],
        [230, 211, 222, 223],
        [0, 221, 232, 233],
    ]


def test_too_few_channels_stay() -> None:
    frames = torch.randn(4, 3, 2, 2)
    assert torch.equal(TemporalShift(num_frames=4, shift_div=8)(frames), frames)


def test_places_of_shifts() -> None:
    with torch.device("meta"):
        resnet50, deep = tsm_r50(), TSMConfig(num_classes=3, backbone="resnet101").build()
        mobile = TSMConfig(num_classes=3, backbone="mobilenet_v2").build()
        one = TSMConfig(num_classes=3, backbone="mobileone_s1").build()
    assert len(shifted(resnet50)) == 3 + 4 + 6 + 3
    assert all(name.endswith(".conv1") for name in shifted(resnet50))
    assert len(shifted(deep)) == 2 + 2 + 12 + 2
    assert "backbone.layer3.1.conv1" not in shifted(deep)
    assert [int(name.split(".")[2]) for name in shifted(mobile)] == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    assert len(shifted(one)) == 1 + 2 * (2 + 8 + 10 + 1)


def test_order_of_frames_matters() -> None:
    model = small().eval()
    nn.init.normal_(model.get_parameter("fc.weight"))
    with torch.inference_mode():
        assert not torch.allclose(model(video()), model(video().flip(3)), atol=1e-3)


def test_multiples_of_the_frames_are_joined_apart() -> None:
    model = small().eval()
    clips = video(num_frames=8)
    with torch.inference_mode():
        halves = torch.stack([model(half) for half in clips.split(4, dim=3)])
        torch.testing.assert_close(model(clips), halves.mean(0))
    with pytest.raises(ConfigError, match="4 frames are joined, got views of 6"):
        model(video(num_frames=6))


def test_names_are_those_of_tsn() -> None:
    tsn = TSNConfig(num_classes=3, backbone="resnet14").build()
    report = load_weights(small(), tsn.state_dict(), where="TSN")
    assert set(report.loaded) == set(tsn.state_dict())


def test_mobilenet_starts_from_torchvision() -> None:
    report = warm_start(
        small(backbone="mobilenet_v2"), torchvision.models.mobilenet_v2().state_dict(), where="ImageNet"
    )
    assert report.names == "torchvision"
    assert set(report.fresh) == {"fc.weight", "fc.bias"}
    assert set(report.unused) == {"classifier.1.weight", "classifier.1.bias"}


def test_export_keeps_shifts_and_non_local_blocks() -> None:
    model = small(non_local="gaussian").eval()
    nn.init.ones_(model.get_parameter("backbone.layer3.0.non_local.bn.weight"))
    exported = torch.export.export(model, (video(),)).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(video()), model(video()))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobileone_s1"])
def test_small_networks_learn_everywhere(backbone: str) -> None:
    model = small(backbone=backbone).train()
    model(video()).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    assert model.parts_by_depth()


def test_non_local_blocks_begin_as_nothing() -> None:
    model, plain = small(non_local="dot_product"), small()
    names = [name for name, part in model.named_modules() if isinstance(part, NonLocalFrames)]
    assert names == ["backbone.layer2.0.non_local", "backbone.layer3.0.non_local"]
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if ".non_local." not in key})
    with torch.inference_mode():
        assert torch.equal(model.eval()(video()), plain.eval()(video()))
    model.train()(video()).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_non_local_frames_see_each_other_within_a_clip() -> None:
    block = NonLocalFrames(num_frames=2, channels=4, kind="embedded_gaussian").eval()
    nn.init.ones_(block.bn.weight)
    frames = torch.randn(4, 4, 2, 2)
    changed = frames.clone()
    changed[0] += 1
    same = (block(frames) == block(changed)).flatten(1).all(1)
    assert same.tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"non_local": "gaussian", "backbone": "mobilenet_v2"}, "only ResNets have places"),
        ({"backbone": "mobileone_s4", "pretrained": "IMAGENET1K_V1"}, "torchvision has no weights of mobileone_s4"),
        ({"backbone": "resnet50", "frozen_stages": 5}, "resnet50 has 4 stages"),
        ({"num_frames": 1}, "num_frames"),
        ({"shift_div": 1}, "shift_div"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TSMConfig.model_validate({"num_classes": 3, **settings})
