import pytest
import torch

from kinoray.models.layers.resnet3d import (
    BasicBlock3d,
    Block3d,
    Bottleneck3d,
    ConvNorm3d,
    ResNet3d,
    TimeStrides,
    add_non_local,
    init_resnet3d,
    make_stage,
    set_norm_eps,
)


def tiny_resnet(*, inflate: bool) -> ResNet3d:
    return ResNet3d(18, width=4, stem_kernel=(1, 7, 7), inflate=(inflate,) * 4)


def test_conv_norm_keeps_the_size_at_stride_one() -> None:
    x = torch.zeros(1, 2, 5, 7, 9)
    assert ConvNorm3d(2, 3, (3, 5, 7))(x).shape == (1, 3, 5, 7, 9)
    assert ConvNorm3d(2, 3, (3, 3, 3), stride=(1, 2, 2))(x).shape == (1, 3, 5, 4, 5)


@pytest.mark.parametrize("block", [BasicBlock3d, Bottleneck3d])
def test_stage_changes_channels_and_size_once(block: Block3d) -> None:
    stage = make_stage(block, 6, 4, inflate=(True, False, True), stride=(2, 2, 2))
    assert stage(torch.zeros(1, 6, 4, 8, 8)).shape == (1, 4 * block.expansion, 2, 4, 4)
    assert len(stage) == 3


@pytest.mark.parametrize(("block", "kernels"), [(BasicBlock3d, [3, 3]), (Bottleneck3d, [3, 1, 1])])
def test_inflated_block_reaches_over_time(block: Block3d, kernels: list[int]) -> None:
    def temporal_kernels(*, inflate: bool) -> list[int]:
        made = block(4 * block.expansion, 4, stride=(1, 1, 1), inflate=inflate)
        return [module.kernel_size[0] for module in made.modules() if isinstance(module, torch.nn.Conv3d)]

    assert temporal_kernels(inflate=True) == kernels
    assert temporal_kernels(inflate=False) == [1] * len(kernels)


def test_network_keeps_time_and_shrinks_the_frame() -> None:
    network = tiny_resnet(inflate=True)
    assert network(torch.zeros(1, 3, 5, 64, 96)).shape == (1, network.channels[-1], 5, 2, 3)
    assert network.channels == (4, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("strides", "num_frames", "num_left"),
    [
        (TimeStrides(conv1=2), 9, 5),
        (TimeStrides(maxpool=2), 9, 5),
        (TimeStrides(pool2=2), 9, 4),
        (TimeStrides(stages=(1, 2, 1, 2)), 9, 3),
        (TimeStrides(2, 2, 2, (2, 1, 1, 1)), 32, 2),
    ],
)
def test_time_shrinks_where_it_is_stepped_over(strides: TimeStrides, num_frames: int, num_left: int) -> None:
    network = ResNet3d(18, width=4, stem_kernel=(1, 7, 7), inflate=(True,) * 4, time_strides=strides)
    assert network(torch.zeros(1, 3, num_frames, 32, 32)).shape == (1, 32, num_left, 1, 1)
    assert len(network.steps()) == 5


def test_each_block_may_be_inflated_on_its_own() -> None:
    network = ResNet3d(18, width=4, stem_kernel=(1, 7, 7), inflate=((True, False), False, True, (False, True)))
    kernels = [[block.conv1.conv.kernel_size[0] for block in stage] for stage in network.stages()]
    assert kernels == [[3, 1], [1, 1], [3, 3], [1, 3]]


def test_non_local_blocks_are_part_of_their_block() -> None:
    torch.manual_seed(0)
    network = tiny_resnet(inflate=False).eval()
    clip = torch.randn(1, 3, 2, 32, 32)
    changed = torch.cat([clip[:, :, :1], clip[:, :, 1:] + 1], dim=2)
    add_non_local(network, "gaussian", blocks=(1, 5))
    added = [name for name in network.state_dict() if name.endswith("non_local.g.weight")]
    assert added == ["layer2.1.non_local.g.weight", "layer3.1.non_local.g.weight"]
    with torch.inference_mode():
        assert torch.allclose(network(clip)[:, :, 0], network(changed)[:, :, 0])  # it starts as the identity
        torch.nn.init.ones_(network.layer2[1].get_submodule("non_local.bn").weight)
        torch.nn.init.ones_(network.layer2[1].get_submodule("non_local.g").weight)
        assert not torch.allclose(network(clip)[:, :, 0], network(changed)[:, :, 0])


def test_epsilon_of_every_norm_is_set() -> None:
    network = tiny_resnet(inflate=False)
    set_norm_eps(network, 1e-3)
    assert {module.eps for module in network.modules() if isinstance(module, torch.nn.BatchNorm3d)} == {1e-3}


def test_frames_meet_only_where_inflated() -> None:
    torch.manual_seed(0)
    clip = torch.randn(1, 3, 4, 32, 32)
    changed = clip.clone()
    changed[:, :, 3] += 1
    for inflate in (False, True):
        network = tiny_resnet(inflate=inflate).eval()
        init_resnet3d(network, zero_init_residual=False)
        with torch.inference_mode():
            same = torch.allclose(network(clip)[:, :, 0], network(changed)[:, :, 0])
        assert same is not inflate


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_makes_blocks_start_as_their_shortcut(depth: int) -> None:
    network = ResNet3d(depth, width=4, stem_kernel=(1, 7, 7), inflate=(True,) * 4).eval()
    init_resnet3d(network, zero_init_residual=True)
    block = network.layer1[1]
    x = torch.rand(1, network.channels[1], 2, 4, 4)
    assert torch.equal(block(x), x)

    init_resnet3d(network, zero_init_residual=False)
    fresh = ResNet3d(depth, width=4, stem_kernel=(1, 7, 7), inflate=(True,) * 4).eval()
    assert not torch.equal(fresh.layer1[1](x), x)


def test_convolutions_start_with_the_spread_of_he() -> None:
    network = ResNet3d(18, stem_kernel=(5, 7, 7), inflate=(True,) * 4)
    init_resnet3d(network, zero_init_residual=True)
    std = network.layer1[0].conv1.conv.weight.std().item()
    assert std == pytest.approx((2 / (64 * 27)) ** 0.5, rel=0.02)
