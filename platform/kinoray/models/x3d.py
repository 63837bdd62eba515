"""X3D: a narrow, deep 3D network of channel-wise convolutions, expanded from a tiny one axis by axis.

Source: arXiv 2004.04730. Numbers compared with X3D and X3DHead of MMAction2 at 4d6c934.
"""

import math
from collections.abc import Mapping, Sequence

from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import silu

from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.resnet3d import ConvNorm3d, init_resnet3d, shortcut
from kinoray.models.weights import KeyRules

X3D_MEAN = (114.75, 114.75, 114.75)
X3D_STD = (57.38, 57.38, 57.38)

MMACTION2_KEYS: KeyRules = (
    (r"^backbone\.conv1_s\.conv\.", "backbone.conv1_s."),
    (r"\.se_module\.", ".excite."),
    (r"^cls_head\.fc1\.", "project."),
    (r"^cls_head\.fc2\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""

# Of the network that is expanded (table 1): channels of the stem, blocks of each stage.
_WIDTH = 24
_NUM_BLOCKS = (1, 2, 5, 3)
_EXCITE_RATIO = 1 / 16


class Excite(nn.Module):
    """Every channel times a factor between 0 and 1 that the mean over the clip decides (arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _round_to_8(channels * _EXCITE_RATIO)
        self.fc1 = nn.Conv3d(channels, squeezed, 1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> the same shape."""
        factors: Tensor = self.fc2(self.relu(self.fc1(x.mean(dim=(2, 3, 4), keepdim=True)))).sigmoid()
        return x * factors


class X3DBlock(nn.Module):
    """A bottleneck that is wide in the middle, where a 3x3x3 convolution sees one channel at a time.

    Args:
        in_channels: of the input.
        middle: channels of the 3x3x3 convolution.
        channels: of the output.
        stride: in height and width.
        excites: whether the channels in the middle are weighed.
    """

    def __init__(self, in_channels: int, middle: int, channels: int, *, stride: int, excites: bool) -> None:
        super().__init__()
        step = (1, stride, stride)
        self.conv1 = ConvNorm3d(in_channels, middle, (1, 1, 1))
        self.conv2 = ConvNorm3d(middle, middle, (3, 3, 3), stride=step, groups=middle, relu=False)
        self.excite = Excite(middle) if excites else nn.Identity()
        self.conv3 = ConvNorm3d(middle, channels, (1, 1, 1), relu=False)
        self.downsample = shortcut(in_channels, channels, step)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, channels, T, H / stride, W / stride)``."""
        middle = silu(self.excite(self.conv2(self.conv1(x))))
        maps: Tensor = self.conv3(middle) + self.downsample(x)
        return maps.relu()


class X3DBackbone(nn.Module):
    """Stem, four stages and a last 1x1x1 convolution; time keeps its length.

    Args:
        in_channels: C.
        width: channels of the stem and the first stage; each later stage has twice as many.
        num_blocks: of each stage; every other one weighs its channels.
        bottleneck: how many times wider the middle of a block is.

    Attributes:
        out_channels: D.
    """

    def __init__(self, *, in_channels: int, width: int, num_blocks: Sequence[int], bottleneck: float) -> None:
        super().__init__()
        self.conv1_s = nn.Conv3d(in_channels, width, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
        self.conv1_t = ConvNorm3d(width, width, (5, 1, 1), groups=width)
        widths = [width * 2**stage for stage in range(4)]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                *(
                    X3DBlock(
                        widths[max(stage - 1, 0)] if number == 0 else widths[stage],
                        int(widths[stage] * bottleneck),
                        widths[stage],
                        stride=2 if number == 0 else 1,
                        excites=number % 2 == 0,
                    )
                    for number in range(num_blocks[stage])
                )
            )
            for stage in range(4)
        )
        self.out_channels = int(widths[-1] * bottleneck)
        self.conv5 = ConvNorm3d(widths[-1], self.out_channels, (1, 1, 1))
        init_resnet3d(self, zero_init_residual=False)
        for module in self.modules():
            if isinstance(module, X3DBlock):  # each starts as its shortcut
                nn.init.zeros_(module.conv3.bn.weight)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``."""
        x = self.conv1_t(self.conv1_s(clips))
        maps: Tensor = self.conv5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return maps

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.conv1_s, self.conv1_t], [self.layer1], [self.layer2], [self.layer3], [self.layer4, self.conv5]]


class X3D(Recognizer):
    """X3D's backbone, the mean over space and time, a wide linear layer, a classifier.

    XS, S and M are one network on clips of other sizes; factors are the paper's gammas. Any size of clips will do.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        width_factor: of all channels.
        depth_factor: of the number of blocks.
        bottleneck_factor: how many times wider the middle of a block is.
        hidden: width of the linear layer before the classifier.
        dropout: share of what that layer gives that is dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        width_factor: float = 1.0,
        depth_factor: float = 2.2,
        bottleneck_factor: float = 2.25,
        hidden: int = 2048,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.backbone = X3DBackbone(
            in_channels=len(mean),
            width=_round_to_8(_WIDTH * width_factor),
            num_blocks=[math.ceil(number * depth_factor) for number in _NUM_BLOCKS],
            bottleneck=bottleneck_factor,
        )
        self.project = nn.Linear(self.backbone.out_channels, hidden, bias=False)
        nn.init.normal_(self.project.weight, std=0.01)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(hidden, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``."""
        maps: Tensor = self.backbone(clips)
        return maps

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, T, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(self.relu(self.project(features.mean(dim=(2, 3, 4))))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [*self.backbone.parts_by_depth(), [self.project]]


def _round_to_8(width: float) -> int:
    """The nearest multiple of 8, at least 8, and not more than a tenth below."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class X3DConfig(ModelConfig):
    """Settings of X3D; the number of input channels is the length of ``mean``."""

    kind: str = "x3d"
    mean: tuple[float, ...] = Field(X3D_MEAN, min_length=1)
    std: tuple[PositiveFloat, ...] = X3D_STD
    width_factor: float = Field(1.0, gt=0)
    """Of all channels (gamma_w)."""
    depth_factor: float = Field(2.2, gt=0)
    """Of the number of blocks (gamma_d): 2.2 in XS, S and M, 5 in L and XL."""
    bottleneck_factor: float = Field(2.25, ge=1)
    """How many times wider the middle of a block is (gamma_b)."""
    hidden: int = Field(2048, gt=0)
    """Width of the linear layer before the classifier."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of what that layer gives that is dropped in training."""

    def build(self) -> X3D:
        return X3D(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            width_factor=self.width_factor,
            depth_factor=self.depth_factor,
            bottleneck_factor=self.bottleneck_factor,
            hidden=self.hidden,
            dropout=self.dropout,
        )


def x3d_s(num_classes: int = 400) -> X3D:
    """3.8 M parameters; S sees 13 frames, 6 apart, of 160 x 160, M 16 frames, 5 apart, of 224 x 224.

    Source: arXiv 2004.04730, tables 2 and 3; MMAction2's x3d_s_13x6x1 and x3d_m_16x5x1.
    """
    return X3DConfig(num_classes=num_classes).build()
