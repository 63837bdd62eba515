import pytest
import torch
from torch import nn

from kinoray.models.layers.mobileone import Gate, MobileOneBlock, MobileOneName, mobileone2d


def test_block_is_the_sum_of_its_branches() -> None:
    block = MobileOneBlock(2, 2, 3, num_branches=2).eval()
    for value in block.parameters():
        nn.init.ones_(value)
    for name, value in block.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(value)
    x = torch.zeros(1, 2, 3, 3)
    x[0, :, 1, 1] = 1.0
    # The input itself 1, the 1x1 branch 2 (two channels), each of the two 3x3 branches 2; around it only the latter.
    scale = (1 + 1e-5) ** -0.5
    expected = torch.full((3, 3), 4 * scale)
    expected[1, 1] = 7 * scale
    torch.testing.assert_close(block(x)[0, 0], expected)


@pytest.mark.parametrize(("stride", "out_channels", "has_identity"), [(1, 4, True), (2, 4, False), (1, 8, False)])
def test_input_is_a_branch_where_it_fits(stride: int, out_channels: int, has_identity: bool) -> None:
    block = MobileOneBlock(4, out_channels, 1, stride=stride)
    assert (block.identity is not None) == has_identity
    assert block.scale is None


def test_a_merged_block_is_one_convolution() -> None:
    block, merged = (MobileOneBlock(4, 4, 3, groups=4, gated=True, merged=merged).eval() for merged in (False, True))
    for name, value in block.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(value, 0.5, 1.5)
    # Of a channel by itself: the answer to an impulse in the middle is the kernel, mirrored, beside that to nothing.
    impulse = torch.zeros(1, 4, 3, 3)
    impulse[:, :, 1, 1] = 1.0
    branches = [*block.convs, block.scale, block.identity]
    with torch.no_grad():
        answer, bias = (sum(branch(x) for branch in branches)[0] for x in (impulse, torch.zeros(1, 4, 3, 3)))
        merged.merged.weight.copy_((answer - bias).flip(1, 2)[:, None])
        merged.merged.bias.copy_(bias[:, 1, 1])
        merged.gate.load_state_dict(block.gate.state_dict())
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(merged(x), block(x))
    assert {name.partition(".")[0] for name in merged.state_dict()} == {"merged", "gate"}


def test_gate_weighs_channels() -> None:
    gate = Gate(16)
    for value in gate.parameters():
        nn.init.zeros_(value)
    assert torch.equal(gate(torch.ones(1, 16, 2, 2)), torch.full((1, 16, 2, 2), 0.5))
    assert gate.conv1.out_channels == 8


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mobileone_s0", 5.29),
        ("mobileone_s1", 4.83),
        ("mobileone_s2", 7.88),
        ("mobileone_s3", 10.17),
        ("mobileone_s4", 14.95),
    ],
)
def test_published_sizes(name: MobileOneName, millions: float) -> None:
    """MMPretrain's table, before branches are merged, with a classifier of 1000 classes."""
    with torch.device("meta"):
        trunk, width = mobileone2d(name)
    num_params = sum(value.numel() for value in trunk.parameters()) + 1000 * (width + 1)
    assert num_params / 1e6 == pytest.approx(millions, abs=0.006)


def test_trunk_ends_before_the_pool() -> None:
    trunk, width = mobileone2d("mobileone_s1", in_channels=2)
    assert trunk(torch.zeros(2, 2, 64, 32)).shape == (2, width, 2, 1)
