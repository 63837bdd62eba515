"""SlowFast: a wide pathway on few frames and a narrow one on many, joined after every stage.

Source: arXiv 1812.03982. Numbers compared with ResNet3dSlowFast and SlowFastHead of MMAction2 at 4d6c934, whose lateral
connections are bare convolutions unless told otherwise (the paper's own code adds batch norm and ReLU).
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.resnet3d import ConvNorm3d, Depth, ResNet3d, init_resnet3d, rules_from_resnet2d
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

_REST = ((r"^backbone\.(slow|fast)_path\.", r"backbone.\1."), (r"^cls_head\.fc_cls\.", "fc."))
MMACTION2_KEYS = (
    (r"^backbone\.slow_path\.conv1_lateral\.conv\.", "backbone.laterals.0."),
    (r"^backbone\.slow_path\.layer(\d)_lateral\.conv\.", r"backbone.laterals.\1."),
    *_REST,
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""
MMACTION2_NORM_KEYS = (
    (r"^backbone\.slow_path\.conv1_lateral\.", "backbone.laterals.0."),
    (r"^backbone\.slow_path\.layer(\d)_lateral\.", r"backbone.laterals.\1."),
    *_REST,
)
"""Likewise, where lateral connections have norms."""


class SlowFastBackbone(nn.Module):
    """The two pathways. Shape legend: D channels of the slow pathway at its end, d of the fast one.

    Args:
        depth: of the slow pathway.
        fast_depth: of the fast pathway.
        in_channels: C.
        width: channels of the slow stem.
        speed_ratio: alpha, how many frames the fast pathway sees for one of the slow.
        channel_ratio: one over beta, how many times narrower the fast pathway is.
        fusion_kernel: frames that a lateral connection reaches over, odd.
        fusion_norm: whether batch norm and ReLU follow each lateral connection.
    """

    def __init__(
        self,
        *,
        depth: Depth,
        fast_depth: Depth,
        in_channels: int,
        width: int,
        speed_ratio: int,
        channel_ratio: int,
        fusion_kernel: int,
        fusion_norm: bool,
    ) -> None:
        super().__init__()
        self.speed_ratio = speed_ratio
        self.fast = ResNet3d(
            fast_depth,
            in_channels=in_channels,
            width=width // channel_ratio,
            stem_kernel=(5, 7, 7),
            inflate=(True, True, True, True),
        )
        joined_channels = [2 * channels for channels in self.fast.channels[:-1]]
        self.slow = ResNet3d(
            depth,
            in_channels=in_channels,
            width=width,
            stem_kernel=(1, 7, 7),
            inflate=(False, False, True, True),
            joined_channels=joined_channels,
        )
        normed = [
            ConvNorm3d(joined // 2, joined, (fusion_kernel, 1, 1), stride=(speed_ratio, 1, 1))
            for joined in joined_channels
        ]
        self.laterals = nn.ModuleList(normed if fusion_norm else [lateral.conv for lateral in normed])
        self.out_channels = self.slow.channels[-1] + self.fast.channels[-1]
        init_resnet3d(self, zero_init_residual=True)

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, T, H, W)`` -> ``(B, D, T / alpha, H / 32, W / 32)`` and ``(B, d, T, H / 32, W / 32)``."""
        slow, fast = clips[:, :, :: self.speed_ratio], clips
        *slow_steps, last_slow = self.slow.steps()
        *fast_steps, last_fast = self.fast.steps()
        for slow_step, fast_step, lateral in zip(slow_steps, fast_steps, self.laterals, strict=True):
            slow, fast = slow_step(slow), fast_step(fast)
            slow = torch.cat([slow, lateral(fast)], dim=1)
        return last_slow(slow), last_fast(fast)

    def parts_by_depth(self) -> list[list[nn.Module]]:
        """Stem and stages of both pathways, each with the connection that follows it."""
        slow, fast = self.slow.parts_by_depth(), self.fast.parts_by_depth()
        return [[a, b, *self.laterals[i : i + 1]] for i, (a, b) in enumerate(zip(slow, fast, strict=True))]


class SlowFast(Recognizer):
    """Two 3D ResNets, the mean of each over space and time, and a linear classifier on both.

    Clips are given at the fast pathway's frame rate; any number of frames will do.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        depth: of the slow pathway, and of the fast one unless ``fast_depth`` is given.
        fast_depth: of the fast pathway.
        speed_ratio: alpha, how many frames the fast pathway sees for one of the slow.
        channel_ratio: one over beta, how many times narrower the fast pathway is.
        fusion_kernel: frames that a lateral connection reaches over, odd.
        fusion_norm: whether batch norm and ReLU follow each lateral connection.
        width: channels of the slow stem.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        depth: Depth = 50,
        fast_depth: Depth | None = None,
        speed_ratio: int = 8,
        channel_ratio: int = 8,
        fusion_kernel: int = 5,
        fusion_norm: bool = False,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.backbone = SlowFastBackbone(
            depth=depth,
            fast_depth=depth if fast_depth is None else fast_depth,
            in_channels=len(mean),
            width=width,
            speed_ratio=speed_ratio,
            channel_ratio=channel_ratio,
            fusion_kernel=fusion_kernel,
            fusion_norm=fusion_norm,
        )
        self.fusion_norm = fusion_norm
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(self.backbone.out_channels, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, d + D)``: pooled, because the pathways' maps differ in length; fast first."""
        slow, fast = self.backbone(clips)
        return torch.cat([fast.mean(dim=(2, 3, 4)), slow.mean(dim=(2, 3, 4))], dim=1)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, d + D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        own = MMACTION2_NORM_KEYS if self.fusion_norm else MMACTION2_KEYS
        return {"MMAction2": own, "torchvision": rules_from_resnet2d("backbone.slow")}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return self.backbone.parts_by_depth()


class SlowFastConfig(ModelConfig):
    """Settings of SlowFast; the number of input channels is the length of ``mean``."""

    kind: str = "slowfast"
    depth: Depth = 50
    """Layers of the slow pathway, and of the fast one unless ``fast_depth`` is given."""
    fast_depth: Depth | None = None
    """Layers of the fast pathway."""
    speed_ratio: int = Field(8, gt=0)
    """Frames of the fast pathway for one of the slow (alpha): 8 in 4x16, 4 in 8x8."""
    channel_ratio: int = Field(8, gt=0)
    """How many times narrower the fast pathway is (1 / beta)."""
    fusion_kernel: int = Field(5, gt=0)
    """Frames that a lateral connection reaches over, odd: 5 in 4x16, 7 in 8x8."""
    fusion_norm: bool = False
    """Batch norm and ReLU follow each lateral connection, as in the paper's own code."""
    width: int = Field(64, gt=0)
    """Channels of the slow pathway's stem; 64 in the published networks."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""
    pretrained: str | None = None
    """Weights to start from: torchvision's of the 2D network of that depth, as IMAGENET1K_V1, for the slow pathway; a
    file or a URL; none is a random start."""
    inflation: Inflation = "mean"
    """How the kernels of a 2D network reach over time: repeated (mean), or on the middle frame alone (center)."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.fusion_kernel % 2 == 0:
            raise ValueError(f"fusion_kernel: even, got {self.fusion_kernel}; an odd one has a middle frame")
        if self.width % self.channel_ratio:
            raise ValueError(f"channel_ratio: does not divide width {self.width}, got {self.channel_ratio}; try 8")
        try:
            self._source()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> SlowFast:
        model = SlowFast(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            depth=self.depth,
            fast_depth=self.fast_depth,
            speed_ratio=self.speed_ratio,
            channel_ratio=self.channel_ratio,
            fusion_kernel=self.fusion_kernel,
            fusion_norm=self.fusion_norm,
            width=self.width,
            dropout=self.dropout,
        )
        load_pretrained(model, self._source(), self.inflation)
        return model

    def _source(self) -> str | None:
        return source_for(self.pretrained, f"resnet{self.depth}")


def slowfast_r50_4x16(num_classes: int = 400) -> SlowFast:
    """34.5 M parameters; of a clip of 32 frames the slow pathway sees 4.

    Source: arXiv 1812.03982, table 1; MMAction2's slowfast_r50_8xb8-4x16x1-256e.
    """
    return SlowFastConfig(num_classes=num_classes, depth=50, speed_ratio=8, fusion_kernel=5).build()


def slowfast_r50_8x8(num_classes: int = 400) -> SlowFast:
    """34.6 M parameters; of a clip of 32 frames the slow pathway sees 8.

    Source: arXiv 1812.03982, table 2; MMAction2's slowfast_r50_8xb8-8x8x1-256e.
    """
    return SlowFastConfig(num_classes=num_classes, depth=50, speed_ratio=4, fusion_kernel=7).build()


def slowfast_r101_8x8(num_classes: int = 400) -> SlowFast:
    """62.9 M parameters; of a clip of 32 frames the slow pathway sees 8.

    Source: arXiv 1812.03982, table 2; MMAction2's slowfast_r101_8xb8-8x8x1-256e.
    """
    return SlowFastConfig(num_classes=num_classes, depth=101, speed_ratio=4, fusion_kernel=7).build()


def slowfast_r101_r50_4x16(num_classes: int = 400) -> SlowFast:
    """62.4 M parameters; a slow pathway of 101 layers beside a fast one of 50.

    Source: MMAction2's slowfast_r101-r50_32xb8-4x16x1-256e.
    """
    return SlowFastConfig(num_classes=num_classes, depth=101, fast_depth=50, speed_ratio=8, fusion_kernel=5).build()
