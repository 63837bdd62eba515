import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from kinoray.models.i3d import I3D, I3DConfig, i3d_r50
from kinoray.models.layers.non_local import NonLocal3d
from kinoray.models.weights import warm_start


def small(**settings: object) -> I3D:
    torch.manual_seed(0)
    return I3DConfig.model_validate({"num_classes": 3, "depth": 18, "width": 8, **settings}).build()


def inflated_blocks(model: I3D) -> list[list[int]]:
    """Per stage, the numbers of the blocks that reach over time."""
    return [
        [number for number, block in enumerate(stage) if block.conv1.conv.kernel_size[0] == 3]
        for stage in model.backbone.stages()
    ]


@pytest.mark.parametrize(("num_frames", "num_left"), [(5, 1), (8, 1), (16, 2), (21, 3), (32, 4)])
def test_time_shrinks_to_an_eighth(num_frames: int, num_left: int) -> None:
    features = small().eval().forward_features(torch.zeros(1, 3, num_frames, 33, 47))
    assert features.shape == (1, 64, num_left, 2, 2)


def test_every_other_block_reaches_over_time() -> None:
    with torch.device("meta"):
        model = i3d_r50()
    assert inflated_blocks(model) == [[0, 1, 2], [0, 2], [0, 2, 4], [1]]


def test_heavy_network_reaches_over_time_everywhere_and_keeps_more_of_it() -> None:
    model = small(inflate="all", stem_time_strides=[1, 1]).eval()
    assert inflated_blocks(model) == [[0, 1]] * 4
    assert model.forward_features(torch.zeros(1, 3, 8, 32, 32)).shape[2] == 4


@pytest.mark.parametrize("kind", ["dot_product", "embedded_gaussian", "gaussian"])
def test_non_local_blocks_start_as_nothing_and_learn(kind: str) -> None:
    plain, model = small().eval(), small(depth=18, non_local=kind)
    places = [name for name, module in model.named_modules() if isinstance(module, NonLocal3d)]
    assert places == ["backbone.layer2.1.non_local", "backbone.layer3.1.non_local"]

    clips = torch.randint(256, (2, 1, 3, 8, 32, 32), dtype=torch.uint8)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model.eval()(clips), plain(clips))
    model.train()(clips).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_r50_has_five_non_local_blocks() -> None:
    with torch.device("meta"):
        model = I3DConfig(num_classes=3, non_local="dot_product").build()
    places = [name for name, module in model.named_modules() if isinstance(module, NonLocal3d)]
    assert places == [f"backbone.layer{place}.non_local" for place in ("2.1", "2.3", "3.1", "3.3", "3.5")]


def test_picture_weights_inflate() -> None:
    pictures: dict[str, Tensor] = {}
    model = small()
    for key, value in model.backbone.state_dict().items():
        name = key.replace("downsample.conv", "downsample.0").replace("downsample.bn", "downsample.1")
        for number in "12":
            name = name.replace(f"conv{number}.conv.", f"conv{number}.").replace(f"conv{number}.bn.", f"bn{number}.")
        pictures[name] = torch.randn(value.shape[:2] + value.shape[3:]) if value.ndim == 5 else torch.rand(value.shape)
    pictures |= {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}

    report = warm_start(model, pictures, where="pictures")
    assert report.names == "torchvision"
    assert set(report.fresh) == {"fc.weight", "fc.bias"}
    torch.testing.assert_close(model.backbone.conv1.get_submodule("conv").weight.sum(2), pictures["conv1.weight"])


def test_fresh_weights_let_no_block_start_as_its_shortcut() -> None:
    norms = [module for module in small().backbone.modules() if isinstance(module, nn.BatchNorm3d)]
    assert all(torch.all(norm.weight == 1) for norm in norms)


@pytest.mark.parametrize(
    "settings", [{"depth": 49}, {"non_local": "sparse"}, {"stem_time_strides": [0, 1]}, {"pretrained": "IMAGENET9K"}]
)
def test_wrong_settings_are_named(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        I3DConfig.model_validate({"num_classes": 3, **settings})
