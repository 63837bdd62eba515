"""MobileOne: a 2D network whose blocks sum several linear branches, which may be merged into one convolution.

Source: arXiv 2206.04040. Numbers compared with MobileOne of MMPretrain, as MMAction2 at 4d6c934 uses it.
"""

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

MobileOneName = Literal[
    "mobileone_s0",
    "mobileone_s1",
    "mobileone_s2",
    "mobileone_s3",
    "mobileone_s4",
    "mobileone_s0_merged",
    "mobileone_s1_merged",
    "mobileone_s2_merged",
    "mobileone_s3_merged",
    "mobileone_s4_merged",
]
"""Of merged ones each block is a single convolution: faster, and not for training."""

_NUM_BLOCKS = (2, 8, 10, 1)
_BASE_WIDTHS = (64, 128, 256, 512)


class _Size(NamedTuple):
    widths: tuple[float, float, float, float]
    """Factors of the base widths."""
    num_branches: int = 1
    num_gated: tuple[int, int, int, int] = (0, 0, 0, 0)
    """How many of each stage's last blocks have squeeze-and-excitation."""


_SIZES = {
    "mobileone_s0": _Size((0.75, 1.0, 1.0, 2.0), num_branches=4),
    "mobileone_s1": _Size((1.5, 1.5, 2.0, 2.5)),
    "mobileone_s2": _Size((1.5, 2.0, 2.5, 4.0)),
    "mobileone_s3": _Size((2.0, 2.5, 3.0, 4.0)),
    "mobileone_s4": _Size((3.0, 3.5, 3.5, 4.0), num_gated=(0, 0, 5, 1)),
}

STAGES = (("stage0",), ("stage1",), ("stage2",), ("stage3",), ("stage4",))
"""Names of the trunk's parts, in order."""
MMPRETRAIN_KEYS = (
    (r"\.branch_conv_list\.", ".convs."),
    (r"\.branch_scale\.", ".scale."),
    (r"\.branch_norm\.", ".identity."),
    (r"\.branch_reparam\.", ".merged."),
    (r"\.se\.conv(\d)\.conv\.", r".gate.conv\1."),
    (r"^head\.fc\.", "imagenet_fc."),
)
"""Rules for ``rename_keys``, from MMPretrain's MobileOne, which MMAction2 uses, to the trunk, both called ``backbone``;
its ImageNet classifier has no place."""


class ConvNorm(nn.Sequential):
    """Convolution without bias, and batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)


class Gate(nn.Module):
    """Squeeze-and-excitation: each channel times a number between 0 and 1 that depends on the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = _multiple_of_8(channels // 16)
        self.conv1 = nn.Conv2d(channels, width, 1)
        self.conv2 = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        return x * torch.sigmoid(self.conv2(torch.relu(self.conv1(x.mean(dim=(2, 3), keepdim=True)))))


class MobileOneBlock(nn.Module):
    """The sum of convolutions, a 1x1 one beside larger kernels, and the input where it fits; then gate and ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        num_branches: int = 1,
        gated: bool = False,
        merged: bool = False,
    ) -> None:
        super().__init__()
        self.gate = Gate(out_channels) if gated else nn.Identity()
        self.merged: nn.Module | None = None
        if merged:
            self.merged = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups)
            return
        self.convs = nn.ModuleList(
            ConvNorm(in_channels, out_channels, kernel, stride=stride, groups=groups) for _ in range(num_branches)
        )
        self.scale = ConvNorm(in_channels, out_channels, 1, stride=stride, groups=groups) if kernel > 1 else None
        self.identity = nn.BatchNorm2d(in_channels) if in_channels == out_channels and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, out_channels, H / stride, W / stride)``."""
        if self.merged is not None:
            return torch.relu(self.gate(self.merged(x)))
        branches = [branch for branch in (self.identity, self.scale) if branch is not None]
        summed = sum(branch(x) for branch in (*branches, *self.convs))
        return torch.relu(self.gate(summed))


def mobileone2d(name: MobileOneName, *, in_channels: int = 3) -> tuple[nn.Sequential, int]:
    """Build the trunk, ``(B, C, H, W) -> (B, D, H / 32, W / 32)``, and tell its width D.

    Args:
        name: its size.
        in_channels: C.
    """
    size, merged = _SIZES[name.removesuffix("_merged")], name.endswith("_merged")
    widths = [int(base * factor) for base, factor in zip(_BASE_WIDTHS, size.widths, strict=True)]
    width = min(64, widths[0])
    trunk = nn.Sequential()
    trunk.add_module("stage0", MobileOneBlock(in_channels, width, 3, stride=2, merged=merged))
    for number, (num_blocks, out_width, num_gated) in enumerate(
        zip(_NUM_BLOCKS, widths, size.num_gated, strict=True), 1
    ):
        stage = nn.Sequential()
        for i in range(num_blocks):
            gated = i >= num_blocks - num_gated
            stride, branches = 2 if i == 0 else 1, size.num_branches
            block = partial(MobileOneBlock, num_branches=branches, gated=gated, merged=merged)
            stage.extend([block(width, width, 3, stride=stride, groups=width), block(width, out_width, 1)])
            width = out_width
        trunk.add_module(f"stage{number}", stage)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk, width


def _multiple_of_8(width: int) -> int:
    """The nearest one, but not less than 9 tenths."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8
