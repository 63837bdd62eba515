"""What I3D, SlowOnly, R(2+1)D and CSN have in common: a 3D ResNet whose map is averaged and scored.

Numbers compared with Recognizer3D and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.resnet3d import MMACTION2_KEYS, Depth, ResNet3d, rules_from_resnet2d
from kinoray.models.pretrained import source_for
from kinoray.models.weights import KeyRules


class PooledResNet3d(Recognizer):
    """A 3D ResNet, the mean over space and time, and a linear classifier.

    Args:
        backbone: a family's own.
        num_classes: K.
        mean: one per channel, grey levels.
        std: one per channel, grey levels.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        backbone: ResNet3d,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        dropout: float,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.fc: nn.Module = classifier(backbone.channels[-1], num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, t, H / 32, W / 32)``."""
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


class InflatedResNet3d(PooledResNet3d):
    """One whose blocks are those of a 2D ResNet, so that it may start from ImageNet weights."""

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {**super().key_rules(), "torchvision": rules_from_resnet2d("backbone")}


class PooledConfig(ModelConfig):
    """What every family of these is told; the number of input channels is the length of ``mean``."""

    depth: Depth = 50
    """Layers with weights."""
    width: int = Field(64, gt=0)
    """Channels of the stem; 64 in the published networks."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""


class InflatedConfig(PooledConfig):
    """Settings of a 3D ResNet that may start from a 2D one's weights."""

    pretrained: str | None = None
    """Weights to start from: torchvision's of the 2D network of that depth, as IMAGENET1K_V1; a file or a URL; none is
    a random start."""
    inflation: Inflation = "mean"
    """How the kernels of a 2D network reach over time: repeated (mean), or on the middle frame alone (center)."""

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        try:
            self.source()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def source(self) -> str | None:
        """Where ``pretrained`` lies, see ``load_pretrained``.

        Raises:
            ConfigError: torchvision has no such weights.
        """
        return source_for(self.pretrained, f"resnet{self.depth}")
