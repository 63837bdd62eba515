"""TIN: a 2D network in which groups of channels are moved in time by distances that it finds itself.

Source: arXiv 2001.06499. Compared with ResNetTIN of MMAction2 at 4d6c934 and ``tin_shift`` of mmcv: the number of
parameters, and the interlacing by hand; the reference runs on GPUs only.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kinoray.models.layers.joined_frames import as_clips, check_num_frames, join_before
from kinoray.models.layers.resnet2d import ResNet2dName, stages_of_blocks
from kinoray.models.tsn import TSN, FramesConfig

MMACTION2_KEYS = (
    (r"\.net1\.offset_net\.", ".interlace.offset_"),
    (r"\.net1\.weight_net\.conv\.", ".interlace.weight_conv."),
    (r"\.conv\.interlace\.", ".interlace."),
    (r"\.net2\.", "."),
    (r"\.net\.", "."),
)
"""Rules from MMAction2's names, before those of the 2D network; the last is for a TSM's, from which TIN may start."""

_NUM_GROUPS = 2
_MAX_OFFSET = 2.0
# Moves by half a frame at the start.
_FIRST_OFFSET_BIAS = 0.5108


class TemporalInterlace(nn.Module):
    """A part of the channels, in four groups: two are moved in time and the other two as far the other way.

    Distances are real numbers: a value lies between those of two frames, and is 0 beyond the clip. Every frame of a
    group is then weighed. Distances and weights depend on the mean over space of the channels that are moved.

    Args:
        channels: C.
        num_frames: T.
        shift_div: one part of so many of the channels is moved.
    """

    def __init__(self, channels: int, num_frames: int, shift_div: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.num_moved = channels // shift_div
        self.offset_conv = nn.Conv1d(self.num_moved, 1, 3, padding=1)
        self.offset_fc1 = nn.Linear(num_frames, num_frames)
        self.offset_fc2 = nn.Linear(num_frames, _NUM_GROUPS)
        self.weight_conv = nn.Conv1d(self.num_moved, _NUM_GROUPS, 3, padding=1)
        nn.init.constant_(self.offset_fc2.bias, _FIRST_OFFSET_BIAS)
        assert self.weight_conv.bias is not None
        nn.init.zeros_(self.weight_conv.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """``(B * T, C, H, W)`` -> the same shape."""
        clips = as_clips(frames, self.num_frames)
        moved, kept = clips[:, :, : self.num_moved], clips[:, :, self.num_moved :]
        means = moved.mean(dim=(3, 4)).mT
        groups = moved.reshape(*moved.shape[:2], 2 * _NUM_GROUPS, -1, *moved.shape[3:])
        groups = move(groups, self._offsets(means)) * self._weights(means)
        return torch.cat([groups.flatten(2, 3), kept], dim=2).flatten(0, 1)

    def _offsets(self, means: Tensor) -> Tensor:
        """``(B, C', T)`` -> ``(B, 4)`` frames, within 2."""
        hidden = torch.relu(self.offset_fc1(self.offset_conv(means).squeeze(1)))
        offsets = 2 * _MAX_OFFSET * (torch.sigmoid(self.offset_fc2(hidden)) - 0.5)
        return torch.cat([offsets, -offsets], dim=1)

    def _weights(self, means: Tensor) -> Tensor:
        """``(B, C', T)`` -> ``(B, T, 4, 1, 1, 1)``, within 0 and 2; groups that go apart agree."""
        weights = 2 * torch.sigmoid(self.weight_conv(means)).mT
        return weights.repeat(1, 1, 2)[..., None, None, None]


def move(groups: Tensor, offsets: Tensor) -> Tensor:
    """Move groups of channels in time; what comes from beyond the clip is 0.

    Args:
        groups: ``(B, T, G, C, H, W)``.
        offsets: ``(B, G)`` frames; 1 puts every frame in its successor's place, 0.5 the mean of two neighbours.
    """
    num_frames = groups.shape[1]
    times = torch.arange(num_frames, device=groups.device, dtype=offsets.dtype)
    # (B, T, T', G): the share of frame T' in what comes to frame T.
    sources = times[:, None, None] - offsets[:, None, None, :]
    shares = (1 - (sources - times[None, :, None]).abs()).clamp(min=0)
    return torch.einsum("btsg,bsgchw->btgchw", shares.to(groups.dtype), groups)


class TIN(TSN):
    """TSN on a ResNet that interlaces frames before the first convolution of every block.

    Args:
        num_classes: K.
        mean: see ``TSN``.
        std: see ``TSN``.
        backbone: which ResNet.
        num_frames: how many are joined; a view has as many or a multiple, of which each part is on its own.
        shift_div: see ``TemporalInterlace``.
        dropout: share of the averaged features dropped in training.
    """

    JOINING_KEYS = MMACTION2_KEYS

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: ResNet2dName = "resnet50",
        num_frames: int = 8,
        shift_div: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            num_classes=num_classes, mean=mean, std=std, backbone=backbone, dropout=dropout, init_std=0.001
        )
        self.num_frames = num_frames
        for block in (block for stage in stages_of_blocks(self.backbone) for block in stage):
            interlace = TemporalInterlace(block.conv1.in_channels, num_frames, shift_div)
            join_before(block.conv1, "interlace", interlace)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``."""
        check_num_frames(clips, self.num_frames)
        return super().forward_features(clips)


class TINConfig(FramesConfig):
    """Settings of TIN."""

    kind: str = "tin"
    backbone: ResNet2dName = "resnet50"
    """Which of torchvision's residual networks sees the frames."""
    num_frames: int = Field(8, gt=1)
    """How many frames are joined; views have as many, or a multiple, of which each part is joined on its own."""
    shift_div: Literal[2, 4, 8, 16] = 4
    """One part of so many of a frame's channels is moved in time."""

    def build(self) -> TIN:
        model = TIN(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            num_frames=self.num_frames,
            shift_div=self.shift_div,
            dropout=self.dropout,
        )
        return self.finish(model)


def tin_r50(num_classes: int = 400) -> TIN:
    """24.4 M parameters, on 8 frames of a video.

    Source: arXiv 2001.06499, table 1; MMAction2's tin_kinetics400-pretrained-tsm-r50_1x1x8-50e.
    """
    return TINConfig(num_classes=num_classes).build()
