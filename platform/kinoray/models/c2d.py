"""C2D: a 2D ResNet on every frame of a clip, with one pooling over pairs of frames; the baseline of non-local networks.

Source: arXiv 1711.07971, table 1, with the pooling after the first stage as in that paper's code. Numbers compared with
C2D and I3DHead of MMAction2 at 4d6c934. Its C2D without pooling is our TSN on clips.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers import resnet2d
from kinoray.models.layers.classifier import classifier
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

MMACTION2_KEYS = (*resnet2d.MMACTION2_KEYS, (r"^cls_head\.fc_cls\.", "fc."))
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""


class C2D(Recognizer):
    """2D ResNet, the maximum of pairs of frames after its first stage, the mean over space and time, a classifier.

    The last of an odd number of frames is left out.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        backbone: which 2D network.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: resnet2d.ResNet2dName = "resnet50",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        trunk, width = resnet2d.resnet2d(backbone, in_channels=len(mean))
        trunk.maxpool = nn.MaxPool2d(3, stride=2)  # unpadded, unlike torchvision's
        self.backbone = trunk
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(width, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T / 2, H / 32, W / 32)``."""
        b, _, t = clips.shape[:3]
        x = clips.transpose(1, 2).flatten(0, 1)
        for name, part in self.backbone.named_children():
            x = part(x)
            if name == "layer1" and t > 1:
                frames = x.view(b, t, *x.shape[1:])
                x = torch.maximum(frames[:, : t - 1 : 2], frames[:, 1::2]).flatten(0, 1)
        return x.view(b, -1, *x.shape[1:]).transpose(1, 2)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, t, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS, "torchvision": resnet2d.TORCHVISION_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.backbone.get_submodule(name) for name in stage] for stage in resnet2d.STAGES]


class C2DConfig(ModelConfig):
    """Settings of C2D; the number of input channels is the length of ``mean``."""

    kind: str = "c2d"
    backbone: resnet2d.ResNet2dName = "resnet50"
    """Which of torchvision's residual networks sees the frames."""
    pretrained: str | None = None
    """Weights to start from: torchvision's by name, as IMAGENET1K_V1, a file or a URL; none is a random start."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        try:
            source_for(self.pretrained, self.backbone)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> C2D:
        model = C2D(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            dropout=self.dropout,
        )
        load_pretrained(model, source_for(self.pretrained, self.backbone))
        return model


def c2d_r50(num_classes: int = 400) -> C2D:
    """24.3 M parameters; trained on 8 frames, 8 apart, or on 16, 4 apart.

    Source: arXiv 1711.07971; MMAction2's c2d_r50-in1k-pre_8xb32-8x8x1-100e.
    """
    return C2DConfig(num_classes=num_classes).build()
