import pytest
import torch
from pydantic import ValidationError
from torch import nn

from kinoray.models.csn import CSN, CSNConfig, ipcsn_r152, ircsn_r50
from kinoray.param_groups import freeze


def small(**settings: object) -> CSN:
    torch.manual_seed(0)
    return CSNConfig.model_validate({"num_classes": 3, "width": 4, **settings}).build()


def kernels(model: CSN) -> list[tuple[tuple[int, ...], bool]]:
    """Of the first block's convolutions: size, and whether each channel is seen alone."""
    convolutions = [module for module in model.backbone.layer2[0].modules() if isinstance(module, nn.Conv3d)]
    return [(conv.kernel_size, conv.groups == conv.out_channels) for conv in convolutions]


def test_channels_meet_only_in_one_by_one_convolutions() -> None:
    one = ((1, 1, 1), False)
    alone = ((3, 3, 3), True)
    assert kernels(small()) == [one, alone, one, one]
    assert kernels(small(interactions="preserved")) == [one, one, alone, one, one]


@pytest.mark.parametrize(("num_frames", "num_left"), [(1, 1), (8, 1), (9, 2), (32, 4)])
def test_time_shrinks_to_an_eighth(num_frames: int, num_left: int) -> None:
    assert small().eval().forward_features(torch.zeros(1, 3, num_frames, 33, 47)).shape == (1, 128, num_left, 2, 2)


def test_norms_have_the_epsilon_of_caffe2() -> None:
    assert {module.eps for module in small().modules() if isinstance(module, nn.BatchNorm3d)} == {1e-3}


def test_frozen_norms_keep_weights_and_statistics() -> None:
    model = small()
    freeze(model, [r"\.bn\."])
    before = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
    clips = torch.randint(256, (2, 1, 3, 4, 32, 32), dtype=torch.uint8)
    model.train()(clips).sum().backward()
    assert all((value.grad is None) == (".bn." in name) for name, value in model.named_parameters())
    assert all(torch.equal(dict(model.named_buffers())[name], value) for name, value in before.items())


def test_a_network_of_basic_blocks_is_refused() -> None:
    with pytest.raises(ValidationError, match="depth"):
        CSNConfig.model_validate({"num_classes": 3, "depth": 18})


def test_builders_are_the_published_sizes() -> None:
    with torch.device("meta"):
        small_one, large_one = ircsn_r50(101), ipcsn_r152(101)
    assert [len(stage) for stage in small_one.backbone.stages()] == [3, 4, 6, 3]
    assert [len(stage) for stage in large_one.backbone.stages()] == [3, 8, 36, 3]
    assert len(large_one.backbone.layer1[0].conv2) == 2
