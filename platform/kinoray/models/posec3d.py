"""PoseC3D: a SlowOnly network that sees one heatmap for each joint, or each limb, in place of colours.

It is narrower and shallower than on pictures and steps less over places: heatmaps are small and say much.

Source: arXiv 2104.13586. Numbers compared with ResNet3dSlowOnly and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import RecognizerConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.resnet3d import (
    MMACTION2_KEYS,
    Bottleneck3d,
    ConvNorm3d,
    init_resnet3d,
    make_stage,
)
from kinoray.models.weights import KeyRules

NumBlocks = tuple[int, int, int]
TimeSteps = tuple[int, int, int]


class HeatmapResNet3d(nn.Module):
    """Stem and three stages; height and width shrink to an eighth, time T to t, as the stages say.

    Args:
        in_channels: joints or limbs.
        width: channels of the stem.
        num_blocks: of each stage; those of the last two reach over time.
        time_strides: of each stage.
        joined_channels: per stage, how many channels a caller concatenates to its input.

    Attributes:
        channels: after the stem and after each stage.
    """

    def __init__(
        self,
        *,
        in_channels: int = 17,
        width: int = 32,
        num_blocks: NumBlocks = (4, 6, 3),
        time_strides: TimeSteps = (1, 1, 2),
        joined_channels: Sequence[int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        self.channels = (width, *(width * 2**i * Bottleneck3d.expansion for i in range(3)))
        self.conv1 = ConvNorm3d(in_channels, width, (1, 7, 7))
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=1, padding=(0, 1, 1))
        self.layer1, self.layer2, self.layer3 = (
            make_stage(
                Bottleneck3d,
                self.channels[i] + joined_channels[i],
                width * 2**i,
                inflate=[i > 0] * num_blocks[i],
                stride=(time_strides[i], 2, 2),
            )
            for i in range(3)
        )

    def stem(self, heatmaps: Tensor) -> Tensor:
        """``(B, joints, T, H, W)`` -> ``(B, width, T, H, W)``."""
        pooled: Tensor = self.maxpool(self.conv1(heatmaps))
        return pooled

    def parts_by_depth(self) -> list[nn.Module]:
        return [self.conv1, self.layer1, self.layer2, self.layer3]

    def forward(self, heatmaps: Tensor) -> Tensor:
        """``(B, joints, T, H, W)`` -> ``(B, channels[-1], t, H / 8, W / 8)``."""
        maps: Tensor = self.layer3(self.layer2(self.layer1(self.stem(heatmaps))))
        return maps


class PoseC3D(Recognizer):
    """A 3D ResNet on heatmaps, the mean over space and time, and a linear classifier.

    Args:
        num_classes: K.
        in_channels: heatmaps of a frame, one for each joint or limb.
        width: channels of the stem.
        num_blocks: of each stage.
        time_strides: of each stage.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 17,
        width: int = 32,
        num_blocks: NumBlocks = (4, 6, 3),
        time_strides: TimeSteps = (1, 1, 2),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes)
        self.backbone = HeatmapResNet3d(
            in_channels=in_channels, width=width, num_blocks=num_blocks, time_strides=time_strides
        )
        init_resnet3d(self.backbone, zero_init_residual=True)
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(self.backbone.channels[-1], num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, joints, T, H, W)`` -> ``(B, D, t, H / 8, W / 8)``."""
        maps: Tensor = self.backbone(clips)
        return maps

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, t, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[part] for part in self.backbone.parts_by_depth()]


class PoseC3DConfig(RecognizerConfig):
    """Settings of PoseC3D."""

    views = "heatmap"

    kind: str = "posec3d"
    in_channels: int = Field(17, gt=0)
    """Heatmaps of a frame: one for each joint, or for each limb."""
    width: int = Field(32, gt=0)
    """Channels of the stem; 32 in the published networks."""
    num_blocks: NumBlocks = (4, 6, 3)
    """Of each stage: 4, 6, 3 for NTU RGB+D and FineGYM; 3, 4, 6 for Kinetics-400, UCF101 and HMDB51."""
    time_strides: TimeSteps = (1, 1, 2)
    """Over how many frames each stage steps."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""

    def build(self) -> PoseC3D:
        return PoseC3D(
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            width=self.width,
            num_blocks=self.num_blocks,
            time_strides=self.time_strides,
            dropout=self.dropout,
        )


def posec3d_ntu60(num_classes: int = 60) -> PoseC3D:
    """2.0 M parameters; sees 48 frames of 56 x 56, also with limbs and for FineGYM's 99 classes.

    Source: arXiv 2104.13586, table 2; MMAction2's slowonly_r50_8xb16-u48-240e_ntu60-xsub-keypoint.
    """
    return PoseC3DConfig(num_classes=num_classes).build()


def posec3d_k400(num_classes: int = 400) -> PoseC3D:
    """3.2 M parameters; sees 48 frames of 56 x 56.

    Source: MMAction2's slowonly_r50_8xb32-u48-240e_k400-keypoint.
    """
    return PoseC3DConfig(num_classes=num_classes, num_blocks=(3, 4, 6)).build()
