"""A small 3D net that learns motion on a CPU within a minute: what the demo and the tests train."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig

NormName = Literal["batch", "group"]

STILL_SHARE: Final = 0.1
GROUP_WIDTH: Final = 8


class Tiny3D(Recognizer):
    """Differences of neighbouring frames, a strided stem, 3x3x3 convolutions, one average over time and space.

    Learning from plain frames begins with a long plateau, as what stands still drowns what moves. So each frame first
    has most of the one before taken off it; ``STILL_SHARE`` of the still picture remains, and a clip without motion
    is dim rather than blank. Time is never strided. Full 3x3x3 kernels were measured to cost no more on a CPU than
    factorised ones, which leave oneDNN too little to do per call.

    Args:
        num_classes: K.
        widths: channels of the stem and of each convolution after it; all but the last halve height and width.
        norm: ``group`` makes a sample's result independent of its batch.
        dropout: before the last layer.
        mean: per channel, grey levels.
        std: per channel, grey levels.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        widths: Sequence[int],
        norm: NormName,
        dropout: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.stem = _unit(len(mean), widths[0], (3, 7, 7), 4, norm)
        last = len(widths) - 2
        self.stages = nn.Sequential(
            *(
                _unit(width_in, width_out, (3, 3, 3), 1 if index == last else 2, norm)
                for index, (width_in, width_out) in enumerate(pairwise(widths))
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 16, W / 16)`` with the default widths."""
        features: Tensor = self.stages(self.stem(emphasise_motion(clips)))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, T, h, w)`` -> ``(B, K)``."""
        logits: Tensor = self.classifier(self.dropout(features.mean((2, 3, 4))))
        return logits

    def head(self) -> nn.Module:
        return self.classifier

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.stem], *([stage] for stage in self.stages)]


def emphasise_motion(clips: Tensor) -> Tensor:
    """Take most of the frame before off every frame, and of the first off itself; the shape (B, C, T, H, W) stays."""
    before = torch.cat((clips[:, :, :1], clips[:, :, :-1]), dim=2)
    return clips - (1 - STILL_SHARE) * before


def _unit(width_in: int, width_out: int, kernel: tuple[int, int, int], stride: int, norm: NormName) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(width_in, width_out, kernel, (1, stride, stride), padding, bias=False),
        nn.BatchNorm3d(width_out) if norm == "batch" else nn.GroupNorm(width_out // GROUP_WIDTH, width_out),
        nn.ReLU(inplace=True),
    )


class Tiny3DConfig(ModelConfig):
    """Tiny3D; 146 thousand parameters by default."""

    kind: str = "tiny3d"
    widths: tuple[Annotated[int, Field(gt=0, multiple_of=GROUP_WIDTH)], ...] = Field((16, 32, 48, 64), min_length=2)
    """Channels of the stem and of each convolution after it, in multiples of 8."""
    norm: NormName = "batch"
    """``group`` makes a sample's result independent of its batch, and so of the number of workers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Before the last layer."""

    def build(self) -> Tiny3D:
        return Tiny3D(
            num_classes=self.num_classes,
            widths=self.widths,
            norm=self.norm,
            dropout=self.dropout,
            mean=self.mean,
            std=self.std,
        )
