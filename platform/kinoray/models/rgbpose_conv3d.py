"""RGBPoseConv3D: a wide network on few pictures beside a narrow one on many heatmaps of joints, each told of the other.

Both see the same square around the persons, heatmaps at a fourth of the side; see ``transforms.paired`` for how the two
come in one tensor.

Source: arXiv 2104.13586. Numbers compared with RGBPoseConv3D and RGBPoseHead of MMAction2 1.2.0.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Normalize, Recognizer
from kinoray.models.kinds import IMAGENET_MEAN, IMAGENET_STD, RecognizerConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.resnet3d import Bottleneck3d, Depth, ResNet3d, init_resnet3d
from kinoray.models.posec3d import HeatmapResNet3d, NumBlocks
from kinoray.models.weights import KeyRules
from kinoray.transforms.paired import BLOCK, unpaired

MMACTION2_KEYS: KeyRules = (
    (r"^backbone\.rgb_path\.layer2_lateral\.conv\.", "backbone.to_rgb.0."),
    (r"^backbone\.rgb_path\.layer3_lateral\.conv\.", "backbone.to_rgb.1."),
    (r"^backbone\.pose_path\.layer1_lateral\.", "backbone.to_pose.0."),
    (r"^backbone\.pose_path\.layer2_lateral\.", "backbone.to_pose.1."),
    (r"^backbone\.(rgb|pose)_path\.", r"backbone.\1."),
    (r"^cls_head\.fc_(rgb|pose)\.", r"fc.\1."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""
# How many times narrower what the heatmaps are told of the pictures is than the pictures' own maps.
_SQUEEZE = 16


class StretchedTime(nn.Sequential):
    """Transposed convolution over time, batch norm and ReLU. ``(B, C, T, H, W)`` -> ``(B, C', stride * T, H, W)``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(
            in_channels,
            out_channels,
            (kernel, 1, 1),
            (stride, 1, 1),
            padding=(kernel // 2, 0, 0),
            output_padding=(stride - 1, 0, 0),
            bias=False,
        )
        self.bn = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)


class RGBPoseBackbone(nn.Module):
    """The two networks. Shape legend: D channels of pictures at the end, d of heatmaps, a heatmaps for each picture.

    Args:
        depth: of the network on pictures.
        in_channels: C.
        width: channels of its stem.
        num_joints: V.
        pose_width: channels of the other network's stem.
        pose_blocks: of each of its stages.
        speed_ratio: a.
        fusion_kernel: frames that a lateral connection reaches over, odd.
    """

    def __init__(
        self,
        *,
        depth: Depth,
        in_channels: int,
        width: int,
        num_joints: int,
        pose_width: int,
        pose_blocks: NumBlocks,
        speed_ratio: int,
        fusion_kernel: int,
    ) -> None:
        super().__init__()
        told = [Bottleneck3d.expansion * pose_width * 2**stage for stage in range(2)]
        self.rgb = ResNet3d(
            depth,
            in_channels=in_channels,
            width=width,
            stem_kernel=(1, 7, 7),
            inflate=(False, False, True, True),
            joined_channels=(0, 0, *told),
        )
        squeezed = [channels // _SQUEEZE for channels in self.rgb.channels[2:4]]
        self.pose = HeatmapResNet3d(
            in_channels=num_joints,
            width=pose_width,
            num_blocks=pose_blocks,
            time_strides=(1, 1, 1),
            joined_channels=(0, *squeezed),
        )
        kernel, padding = (fusion_kernel, 1, 1), (fusion_kernel // 2, 0, 0)
        self.to_rgb = nn.ModuleList(
            nn.Conv3d(channels, channels, kernel, (speed_ratio, 1, 1), padding, bias=False) for channels in told
        )
        self.to_pose = nn.ModuleList(
            StretchedTime(channels * _SQUEEZE, channels, fusion_kernel, speed_ratio) for channels in squeezed
        )
        init_resnet3d(self, zero_init_residual=True)

    def forward(self, pictures: Tensor, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, T, 4 * h, 4 * w)`` and ``(B, V, a * T, h, w)`` -> maps of both, at an eighth of h and w.

        The first are ``(B, D, T, h / 8, w / 8)``, the others ``(B, d, a * T, h / 8, w / 8)``.
        """
        rgb = self.rgb.layer2(self.rgb.stage1(self.rgb.stem(pictures)))
        pose = self.pose.layer1(self.pose.stem(heatmaps))
        rgb, pose = torch.cat([rgb, self.to_rgb[0](pose)], dim=1), torch.cat([pose, self.to_pose[0](rgb)], dim=1)
        rgb, pose = self.rgb.layer3(rgb), self.pose.layer2(pose)
        rgb, pose = torch.cat([rgb, self.to_rgb[1](pose)], dim=1), torch.cat([pose, self.to_pose[1](rgb)], dim=1)
        return self.rgb.layer4(rgb), self.pose.layer3(pose)

    def parts_by_depth(self) -> list[list[nn.Module]]:
        """Stems and stages, each with the connections that follow it; the pictures' first stage is on its own."""
        rgb, pose = self.rgb.parts_by_depth(), self.pose.parts_by_depth()
        return [
            [rgb[0], pose[0]],
            [rgb[1]],
            [rgb[2], pose[1], self.to_rgb[0], self.to_pose[0]],
            [rgb[3], pose[2], self.to_rgb[1], self.to_pose[1]],
            [rgb[4], pose[3]],
        ]


class RGBPoseConv3D(Recognizer):
    """Two 3D ResNets, the mean of each over space and time, and a linear classifier on each.

    In training both classifiers are scored, each by its own loss. Otherwise the probabilities of the two are averaged,
    for videos of one label: the scores are the logarithms of these means.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        depth: of the network on pictures.
        width: channels of its stem.
        num_joints: V, heatmaps of a frame.
        pose_width: channels of the stem of the network on heatmaps.
        pose_blocks: of each of its stages.
        speed_ratio: a, heatmaps of a joint for each picture.
        fusion_kernel: frames that a lateral connection reaches over, odd.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        depth: Depth = 50,
        width: int = 64,
        num_joints: int = 17,
        pose_width: int = 32,
        pose_blocks: NumBlocks = (4, 6, 3),
        speed_ratio: int = 4,
        fusion_kernel: int = 7,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes)
        self.num_channels, self.num_joints, self.speed_ratio = len(mean), num_joints, speed_ratio
        self.normalize_pictures = Normalize(mean, std)
        self.backbone = RGBPoseBackbone(
            depth=depth,
            in_channels=len(mean),
            width=width,
            num_joints=num_joints,
            pose_width=pose_width,
            pose_blocks=pose_blocks,
            speed_ratio=speed_ratio,
            fusion_kernel=fusion_kernel,
        )
        self.widths = [self.backbone.rgb.channels[-1], self.backbone.pose.channels[-1]]
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.ModuleDict(
            {name: classifier(width, num_classes) for name, width in zip(("rgb", "pose"), self.widths, strict=True)}
        )
        self.loss_weights = (1.0, 1.0)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, 16 * C + V * a, T, h, w)`` -> ``(B, D + d)``: pooled, because the maps differ in length."""
        num_maps = self.num_joints * self.speed_ratio
        if clips.shape[1] != BLOCK * BLOCK * self.num_channels + num_maps:
            raise ConfigError(
                f"model: takes {self.num_channels} channels of pictures and {num_maps} heatmaps for each, got views of "
                f"{clips.shape[1]} channels; give the view the model's joints and speed_ratio"
            )
        pictures, heatmaps = unpaired(clips, self.num_channels, self.num_joints)
        rgb, pose = self.backbone(self.normalize_pictures(pictures), heatmaps)
        return torch.cat([rgb.mean(dim=(2, 3, 4)), pose.mean(dim=(2, 3, 4))], dim=1)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D + d)`` -> ``(B, K)``, in training ``(B, 2, K)``."""
        scores = self.scores_of_both(features)
        return scores if self.training else scores.log_softmax(-1).logsumexp(1) - math.log(2)

    def scores_of_both(self, features: Tensor) -> Tensor:
        """``(B, D + d)`` -> ``(B, 2, K)`` logits, of the pictures and of the heatmaps."""
        rgb, pose = self.dropout(features).split(self.widths, dim=1)
        return torch.stack([self.fc["rgb"](rgb), self.fc["pose"](pose)], dim=1)

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return self.backbone.parts_by_depth()


class RGBPoseConv3DConfig(RecognizerConfig):
    """Settings of RGBPoseConv3D; the number of the pictures' channels is the length of ``mean``."""

    kind: str = "rgbpose_conv3d"
    mean: tuple[float, ...] = Field(IMAGENET_MEAN, min_length=1)
    """Of the pictures, per channel, in grey levels 0..255; subtracted inside the model."""
    std: tuple[PositiveFloat, ...] = IMAGENET_STD
    """Of the pictures, per channel, in grey levels 0..255; divides inside the model."""
    depth: Depth = 50
    """Layers of the network on pictures."""
    width: int = Field(64, gt=0)
    """Channels of its stem; 64 in the published network."""
    num_joints: int = Field(17, gt=0)
    """Heatmaps of a frame, one for each joint."""
    pose_width: int = Field(32, gt=0)
    """Channels of the stem of the network on heatmaps; 32 in the published one."""
    pose_blocks: NumBlocks = (4, 6, 3)
    """Of each of its stages."""
    speed_ratio: int = Field(4, gt=0)
    """Heatmaps of a joint for each picture: 4 where 8 pictures go with 32 heatmaps."""
    fusion_kernel: int = Field(7, gt=0)
    """Frames that a lateral connection reaches over, odd."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if len(self.std) != len(self.mean):
            raise ValueError(f"std: needs one number per channel of mean ({len(self.mean)}), got {len(self.std)}")
        if self.fusion_kernel % 2 == 0:
            raise ValueError(f"fusion_kernel: even, got {self.fusion_kernel}; an odd one has a middle frame")
        return self

    def build(self) -> RGBPoseConv3D:
        return RGBPoseConv3D(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            depth=self.depth,
            width=self.width,
            num_joints=self.num_joints,
            pose_width=self.pose_width,
            pose_blocks=self.pose_blocks,
            speed_ratio=self.speed_ratio,
            fusion_kernel=self.fusion_kernel,
            dropout=self.dropout,
        )


def rgbpose_conv3d_ntu60(num_classes: int = 60) -> RGBPoseConv3D:
    """36.1 M parameters; sees 8 pictures of 224 x 224 and 32 heatmaps of 56 x 56.

    Source: arXiv 2104.13586; MMAction2's rgbpose_conv3d.
    """
    return RGBPoseConv3DConfig(num_classes=num_classes).build()
