"""TANet: a 2D network whose blocks filter over time, with a kernel that each channel of each video gets for itself.

Source: arXiv 2005.06803. Numbers compared with TANet, TAM and TSMHead of MMAction2 at 4d6c934.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.resnet import Bottleneck

from kinoray.models.layers.joined_frames import as_clips, check_num_frames, join_before
from kinoray.models.layers.resnet2d import stages_of_blocks
from kinoray.models.tsn import TSN, FramesConfig

BottleneckResNetName = Literal["resnet14", "resnet50", "resnet101", "resnet152"]

MMACTION2_KEYS = (
    (r"\.block\.", "."),
    (r"\.tam\.G\.", ".conv2.adapt.kernel."),
    (r"\.tam\.L\.", ".conv2.adapt.gate."),
)
"""Rules from MMAction2's names, before those of the 2D network."""

_KERNEL = 3


class TemporalAdaptive(nn.Module):
    """Each channel, weighed frame by frame, is filtered over time by a kernel that sums to 1.

    The weights come from the means over space of neighbouring frames in all channels (the paper's local branch), the
    kernel from those of all frames in that channel (its global branch).

    Args:
        channels: C.
        num_frames: T.
    """

    def __init__(self, channels: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.kernel = nn.Sequential(
            nn.Linear(num_frames, 2 * num_frames, bias=False),
            nn.BatchNorm1d(2 * num_frames),
            nn.ReLU(inplace=True),
            nn.Linear(2 * num_frames, _KERNEL, bias=False),
            nn.Softmax(dim=-1),
        )
        self.gate = nn.Sequential(
            nn.Conv1d(channels, channels // 4, 3, padding=1, bias=False),
            nn.BatchNorm1d(channels // 4),
            nn.ReLU(inplace=True),
            nn.Conv1d(channels // 4, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.001)

    def forward(self, frames: Tensor) -> Tensor:
        """``(B * T, C, H, W)`` -> the same shape."""
        clips = as_clips(frames, self.num_frames)
        means = clips.mean(dim=(3, 4)).mT
        kernels = self.kernel(means.flatten(0, 1)).unflatten(0, means.shape[:2])
        padded = pad(clips * self.gate(means).mT[..., None, None], (0, 0, 0, 0, 0, 0, 1, 1))
        filtered = torch.zeros_like(clips)
        for place in range(_KERNEL):
            weight = kernels[:, None, :, place, None, None]
            filtered = filtered + padded[:, place : place + self.num_frames] * weight
        return filtered.flatten(0, 1)


class TANet(TSN):
    """TSN on a ResNet with bottlenecks that filter over time before their 3x3 convolution.

    Args:
        num_classes: K.
        mean: see ``TSN``.
        std: see ``TSN``.
        backbone: which ResNet.
        num_frames: how many are joined; a view has as many or a multiple, of which each part is on its own.
        dropout: share of the averaged features dropped in training.
    """

    JOINING_KEYS = MMACTION2_KEYS

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: BottleneckResNetName = "resnet50",
        num_frames: int = 8,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            num_classes=num_classes, mean=mean, std=std, backbone=backbone, dropout=dropout, init_std=0.001
        )
        self.num_frames = num_frames
        for block in (block for stage in stages_of_blocks(self.backbone) for block in stage):
            assert isinstance(block, Bottleneck)
            join_before(block.conv2, "adapt", TemporalAdaptive(block.conv2.in_channels, num_frames))

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``."""
        check_num_frames(clips, self.num_frames)
        return super().forward_features(clips)


class TANetConfig(FramesConfig):
    """Settings of TANet."""

    kind: str = "tanet"
    backbone: BottleneckResNetName = "resnet50"
    """Which of torchvision's residual networks with bottlenecks sees the frames."""
    num_frames: int = Field(8, gt=2)
    """How many frames are joined; views have as many, or a multiple, of which each part is joined on its own."""

    def build(self) -> TANet:
        model = TANet(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            num_frames=self.num_frames,
            dropout=self.dropout,
        )
        return self.finish(model)


def tanet_r50(num_classes: int = 400) -> TANet:
    """25.6 M parameters, on 8 frames of a video.

    Source: arXiv 2005.06803, table 1; MMAction2's tanet_imagenet-pretrained-r50_8xb8-dense-1x1x8-100e.
    """
    return TANetConfig(num_classes=num_classes).build()
