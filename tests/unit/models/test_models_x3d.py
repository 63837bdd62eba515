import pytest
import torch
from torch import nn

from kinoray.models.x3d import X3D, Excite, X3DConfig, x3d_s


def small(**settings: object) -> X3D:
    torch.manual_seed(0)
    small_size = {"num_classes": 3, "width_factor": 0.3, "depth_factor": 0.2, "hidden": 8}
    return X3DConfig.model_validate({**small_size, **settings}).build()


def test_published_sizes_of_table_3() -> None:
    with torch.device("meta"):
        backbone = x3d_s().backbone
    stages = (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)
    assert [len(stage) for stage in stages] == [3, 5, 11, 7]
    assert [stage[0].conv2.conv.weight.shape[0] for stage in stages] == [54, 108, 216, 432]
    assert [stage[0].excite.fc1.out_channels for stage in stages] == [8, 8, 16, 32]
    assert backbone.out_channels == 432


@pytest.mark.parametrize(("width_factor", "width"), [(0.1, 8), (1.0, 24), (1.5, 40), (2.9, 72)])
def test_widths_are_multiples_of_8(width_factor: float, width: int) -> None:
    with torch.device("meta"):
        assert X3DConfig(num_classes=3, width_factor=width_factor).build().backbone.conv1_s.out_channels == width


@pytest.mark.parametrize("num_frames", [1, 4, 13])
def test_time_keeps_its_length(num_frames: int) -> None:
    features = small().eval().forward_features(torch.zeros(1, 3, num_frames, 33, 47))
    assert features.shape == (1, 144, num_frames, 2, 2)


def test_every_other_block_weighs_its_channels() -> None:
    with torch.device("meta"):
        stage = x3d_s().backbone.layer2
    assert [isinstance(block.excite, Excite) for block in stage] == [True, False, True, False, True]


def test_channels_are_weighed_by_the_mean_over_the_clip() -> None:
    excite = Excite(4)
    x = torch.randn(2, 4, 3, 5, 5)
    factors = excite(x) / x
    torch.testing.assert_close(factors, factors[:, :, :1, :1, :1].expand_as(factors), atol=1e-4, rtol=1e-4)
    assert ((factors > 0) & (factors < 1)).all()


def test_blocks_start_as_their_shortcut() -> None:
    block = small(depth_factor=1.0).backbone.layer2[1].eval()
    x = torch.rand(1, 16, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_parts_name_every_layer_but_the_head() -> None:
    model = small()
    parts = {id(value) for stage in model.parts_by_depth() for part in stage for value in part.parameters()}
    assert parts == {id(value) for name, value in model.named_parameters() if not name.startswith("fc.")}


def test_channels_meet_only_in_one_by_one_convolutions() -> None:
    convolutions = [module for module in small().backbone.modules() if isinstance(module, nn.Conv3d)][1:]
    assert all(conv.kernel_size == (1, 1, 1) or conv.groups == conv.out_channels for conv in convolutions)
