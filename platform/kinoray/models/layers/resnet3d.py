"""3D residual networks: 2D ResNets whose kernels may also reach over time.

Shapes: ``(B, C, T, H, W)`` everywhere. Sizes of kernels and strides are (time, height, width). "Inflated" blocks see
three frames, the others one. Names of layers are torchvision's: ``conv1``, ``layer1`` .. ``layer4``.

Source: arXiv 1705.07750 (inflation), 1812.03982 (which stages to inflate), 1711.07971 (non-local blocks). Numbers
compared with ResNet3d of MMAction2 at 4d6c934.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from kinoray.models.layers.non_local import NON_LOCAL_KEYS, NonLocal3d, NonLocalKind
from kinoray.models.weights import KeyRules

Size3 = tuple[int, int, int]
Depth = Literal[18, 34, 50, 101, 152]


class ConvNorm3d(nn.Sequential):
    """Convolution, batch norm and, unless told otherwise, ReLU; at stride 1 the size stays.

    ``(B, C, T, H, W)`` -> ``(B, C', T / t, H / h, W / w)`` for stride ``(t, h, w)``, rounded up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size3,
        *,
        stride: Size3 = (1, 1, 1),
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        # R(2+1)D puts two convolutions in its place.
        self.conv: nn.Module = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)
        if relu:
            self.relu = nn.ReLU(inplace=True)


class BasicBlock3d(nn.Module):
    """Two 3x3 convolutions beside a shortcut, for depths 18 and 34."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: Size3, inflate: bool) -> None:
        super().__init__()
        kernel = (3 if inflate else 1, 3, 3)
        self.conv1 = ConvNorm3d(in_channels, channels, kernel, stride=stride)
        self.conv2 = ConvNorm3d(channels, channels, kernel, relu=False)
        self.downsample = shortcut(in_channels, channels, stride)
        self.non_local: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, channels, T / t, H / h, W / w)``."""
        maps: Tensor = self.non_local(torch.relu(self.conv2(self.conv1(x)) + self.downsample(x)))
        return maps


class Bottleneck3d(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; the first reaches over time, the second holds the stride."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, *, stride: Size3, inflate: bool) -> None:
        super().__init__()
        self.conv1 = ConvNorm3d(in_channels, channels, (3 if inflate else 1, 1, 1))
        # CSN puts separated convolutions in its place.
        self.conv2: nn.Module = ConvNorm3d(channels, channels, (1, 3, 3), stride=stride)
        self.conv3 = ConvNorm3d(channels, channels * self.expansion, (1, 1, 1), relu=False)
        self.downsample = shortcut(in_channels, channels * self.expansion, stride)
        self.non_local: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, 4 * channels, T / t, H / h, W / w)``."""
        maps: Tensor = self.non_local(torch.relu(self.conv3(self.conv2(self.conv1(x))) + self.downsample(x)))
        return maps


Block3d = type[BasicBlock3d] | type[Bottleneck3d]

# Depth -> the kind of block and how many of them each of the four stages has (arXiv 1512.03385, table 1).
STAGES: dict[Depth, tuple[Block3d, tuple[int, int, int, int]]] = {
    18: (BasicBlock3d, (2, 2, 2, 2)),
    34: (BasicBlock3d, (3, 4, 6, 3)),
    50: (Bottleneck3d, (3, 4, 6, 3)),
    101: (Bottleneck3d, (3, 4, 23, 3)),
    152: (Bottleneck3d, (3, 8, 36, 3)),
}


BlockFlags = bool | Sequence[bool]
"""One for each block of a stage, or one for all of them."""


class TimeStrides(NamedTuple):
    """Where a network steps over frames; everywhere by one unless told otherwise."""

    conv1: int = 1
    maxpool: int = 1
    pool2: int = 1
    """A pooling over time alone, after the first stage."""
    stages: tuple[int, int, int, int] = (1, 1, 1, 1)


EVERY_FRAME = TimeStrides()


def make_stage(
    block: Block3d, in_channels: int, channels: int, *, inflate: Sequence[bool], stride: Size3
) -> nn.Sequential:
    """Chain one block per entry of ``inflate``; the first one changes the channels and holds the stride."""
    first = block(in_channels, channels, stride=stride, inflate=inflate[0])
    width = channels * block.expansion
    others = [block(width, channels, stride=(1, 1, 1), inflate=inflated) for inflated in inflate[1:]]
    return nn.Sequential(first, *others)


class ResNet3d(nn.Module):
    """Stem and four stages; height and width shrink to a 32nd, time T to t, as its strides say.

    Args:
        depth: number of layers with weights, as in the 2D network of that name.
        in_channels: C.
        width: channels after the stem; 64 in the published networks.
        stem_kernel: of the first convolution.
        inflate: per stage, whether its blocks reach over time.
        time_strides: over how many frames the parts step.
        joined_channels: per stage, how many channels a caller concatenates to its input.

    Attributes:
        channels: after the stem and after each stage.
    """

    def __init__(
        self,
        depth: Depth,
        *,
        in_channels: int = 3,
        width: int = 64,
        stem_kernel: Size3,
        inflate: tuple[BlockFlags, BlockFlags, BlockFlags, BlockFlags],
        time_strides: TimeStrides = EVERY_FRAME,
        joined_channels: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        super().__init__()
        block, num_blocks = STAGES[depth]
        self.channels = (width, *(width * 2**i * block.expansion for i in range(4)))
        self.conv1 = ConvNorm3d(in_channels, width, stem_kernel, stride=(time_strides.conv1, 2, 2))
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(time_strides.maxpool, 2, 2), padding=(0, 1, 1))
        pool2 = (time_strides.pool2, 1, 1)
        self.pool2 = nn.MaxPool3d(pool2, stride=pool2) if time_strides.pool2 > 1 else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            make_stage(
                block,
                self.channels[i] + joined_channels[i],
                width * 2**i,
                inflate=_per_block(inflate[i], num_blocks[i]),
                stride=(time_strides.stages[i], 1, 1) if i == 0 else (time_strides.stages[i], 2, 2),
            )
            for i in range(4)
        )

    def stem(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, width, t, H / 4, W / 4)``."""
        pooled: Tensor = self.maxpool(self.conv1(x))
        return pooled

    def stage1(self, x: Tensor) -> Tensor:
        """The first stage and the pooling over time that follows it."""
        pooled: Tensor = self.pool2(self.layer1(x))
        return pooled

    def steps(self) -> list[Callable[[Tensor], Tensor]]:
        """The stem and the four stages, for callers that join something in between."""
        return [self.stem, self.stage1, self.layer2, self.layer3, self.layer4]

    def stages(self) -> tuple[nn.Sequential, ...]:
        """The blocks of the four stages."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def parts_by_depth(self) -> list[nn.Module]:
        return [self.conv1, self.layer1, self.layer2, self.layer3, self.layer4]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, channels[-1], t, H / 32, W / 32)``."""
        for step in self.steps():
            x = step(x)
        return x


def init_resnet3d(network: nn.Module, *, zero_init_residual: bool) -> None:
    """Give fresh weights to every 3D convolution; batch norms start at 1 and 0 as PyTorch makes them.

    Args:
        network: changed in place.
        zero_init_residual: let every block start as its shortcut (arXiv 1706.02677).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif zero_init_residual and isinstance(module, BasicBlock3d):
            nn.init.zeros_(module.conv2.bn.weight)
        elif zero_init_residual and isinstance(module, Bottleneck3d):
            nn.init.zeros_(module.conv3.bn.weight)


def add_non_local(network: ResNet3d, kind: NonLocalKind, *, blocks: Sequence[int], scale: bool = False) -> None:
    """Follow some blocks of the second and third stage by a non-local one, five in a network of 50 layers.

    Args:
        network: changed in place; to be called after ``init_resnet3d``, for non-local blocks start otherwise.
        kind: see ``NonLocal3d``.
        blocks: numbers within a stage, those that it has.
        scale: see ``NonLocal3d``.
    """
    for stage, channels in zip((network.layer2, network.layer3), network.channels[2:4], strict=True):
        for number in blocks:
            if number < len(stage):
                stage[number].non_local = NonLocal3d(channels, kind, scale=scale)


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Let every ``ConvNorm3d`` normalize with another epsilon, as weights from Caffe2 were trained."""
    for module in network.modules():
        if isinstance(module, ConvNorm3d):
            module.bn.eps = eps


def shortcut(in_channels: int, out_channels: int, stride: Size3) -> nn.Module:
    """What a block's input passes on its way around: nothing, or a convolution where channels or sizes change."""
    if in_channels == out_channels and stride == (1, 1, 1):
        return nn.Identity()
    return ConvNorm3d(in_channels, out_channels, (1, 1, 1), stride=stride, relu=False)


def _per_block(flags: BlockFlags, num_blocks: int) -> Sequence[bool]:
    if isinstance(flags, bool):
        return (flags,) * num_blocks
    return flags


MMACTION2_KEYS: KeyRules = (
    *NON_LOCAL_KEYS,
    (r"^(conv1|layer\d)\.", r"backbone.\1."),
    (r"^cls_head\.fc_cls\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints, and its files of a backbone alone, to a recognizer whose
``backbone`` is a ``ResNet3d``."""


def rules_from_resnet2d(prefix: str) -> KeyRules:
    """From torchvision's 2D ResNets to a ``ResNet3d`` at a prefix; their classifier has no place."""
    return (
        (r"^fc\.", "imagenet_fc."),
        (r"\bconv(\d)\.weight$", r"conv\1.conv.weight"),
        (r"\bbn(\d)\.", r"conv\1.bn."),
        (r"\.downsample\.0\.", ".downsample.conv."),
        (r"\.downsample\.1\.", ".downsample.bn."),
        (r"^(conv1|layer\d)\.", rf"{prefix}.\1."),
    )
