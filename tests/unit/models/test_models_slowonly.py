import pytest
import torch
from torch import nn

from kinoray.models.layers.non_local import NonLocal3d
from kinoray.models.slowonly import SlowOnly, SlowOnlyConfig, slowonly_r50
from kinoray.models.weights import load_weights


def small(**settings: object) -> SlowOnly:
    torch.manual_seed(0)
    return SlowOnlyConfig.model_validate({"num_classes": 3, "depth": 50, "width": 4, **settings}).build()


@pytest.mark.parametrize("num_frames", [1, 4, 7])
def test_time_keeps_its_length(num_frames: int) -> None:
    features = small(depth=18).eval().forward_features(torch.zeros(1, 3, num_frames, 33, 47))
    assert features.shape == (1, 32, num_frames, 2, 2)


def test_only_the_last_stages_reach_over_time() -> None:
    kernels = [{block.conv1.conv.kernel_size[0] for block in stage} for stage in small().backbone.stages()]
    assert kernels == [{1}, {1}, {3}, {3}]


def test_flow_has_two_channels() -> None:
    model = small(mean=(128.0, 128.0), std=(128.0, 128.0)).eval()
    assert model(torch.zeros(1, 1, 2, 4, 32, 32, dtype=torch.uint8)).shape == (1, 1, 3)


def test_non_local_blocks_follow_others_than_in_i3d_and_are_scaled() -> None:
    with torch.device("meta"):
        model = SlowOnlyConfig(num_classes=3, non_local="embedded_gaussian").build()
    found = {name: module for name, module in model.named_modules() if isinstance(module, NonLocal3d)}
    assert list(found) == [f"backbone.layer{place}.non_local" for place in ("2.0", "2.2", "3.0", "3.2", "3.4")]
    assert [module.factor for module in found.values()] == [256**-0.5] * 2 + [512**-0.5] * 3


def test_blocks_start_as_their_shortcut() -> None:
    assert not small().backbone.layer1[1].conv3.bn.weight.any()


def test_omnisource_checkpoint_lands() -> None:
    model, other = small(), small()
    for norm in (module for module in other.modules() if isinstance(module, nn.BatchNorm3d)):
        nn.init.uniform_(norm.weight)
    given = {}
    for key, value in other.state_dict().items():
        name = key.replace("downsample.conv", "downsample.0").replace("downsample.bn", "downsample.1")
        for number in "123":
            name = name.replace(f"conv{number}.conv.", f"conv{number}.").replace(f"conv{number}.bn.", f"bn{number}.")
        given[f"cls_head.fc_cls.{name[3:]}" if name.startswith("fc.") else name] = value
    assert "backbone.layer1.0.downsample.1.running_mean" in given

    report = load_weights(model, given, where="OmniSource")
    assert (report.names, len(report.loaded)) == ("OmniSource", len(given))
    clips = torch.randint(256, (1, 1, 3, 2, 32, 32), dtype=torch.uint8)
    assert torch.equal(model.eval()(clips), other.eval()(clips))


def test_builder_is_the_published_size() -> None:
    with torch.device("meta"):
        model = slowonly_r50(101)
    assert [len(stage) for stage in model.backbone.stages()] == [3, 4, 6, 3]
    assert model.fc.weight.shape == (101, 2048)
