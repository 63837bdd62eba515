"""TSN: a 2D network on a few frames of a video, whose features are averaged before they are scored.

Source: arXiv 1608.00859. Numbers compared with Recognizer2D, ResNet and TSNHead of MMAction2 at 4d6c934.
"""

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.resnet2d import ResNet2dName, check_imagenet_weights, resnet2d

MMACTION2_KEYS = (
    (r"^backbone\.conv1\.conv\.", "backbone.conv1."),
    (r"^backbone\.conv1\.bn\.", "backbone.bn1."),
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"^cls_head\.fc_cls\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""


_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


class TSN(Recognizer):
    """2D ResNet, the mean over space and time, and a linear classifier.

    The mean comes before dropout and classifier, as in MMAction2; the published code averages after them, which scores
    the same but drops every frame's features on their own.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C (3 for RGB, 10 for five stacked flow fields).
        std: one per channel, grey levels.
        backbone: torchvision's name.
        pretrained: a name of torchvision's weights; none is a random start.
        dropout: share of the averaged features dropped in training.
        norm_eval: batch norms keep their running statistics in training; their weights are still trained.
        partial_bn: every batch norm but the first keeps statistics and weights in training.
        frozen_stages: -1 trains all; 0 freezes the stem; n also freezes the first n stages.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: ResNet2dName = "resnet50",
        pretrained: str | None = None,
        dropout: float = 0.4,
        norm_eval: bool = False,
        partial_bn: bool = False,
        frozen_stages: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.norm_eval = norm_eval
        self.partial_bn = partial_bn
        self.frozen_stages = frozen_stages
        self.backbone, width = resnet2d(backbone, in_channels=len(mean), pretrained=pretrained)
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(width, num_classes)
        for module in [*self._frozen_parts(), *(self._norms()[1:] if partial_bn else [])]:
            module.requires_grad_(requires_grad=False)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``; every frame is seen on its own."""
        b, _, t = clips.shape[:3]
        maps: Tensor = self.backbone(clips.transpose(1, 2).flatten(0, 1))
        return maps.view(b, t, *maps.shape[1:]).transpose(1, 2)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, T, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.backbone.get_submodule(name) for name in stage] for stage in _STAGES]

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        norms = self._norms() if self.norm_eval else self._norms()[1:] if self.partial_bn else []
        for module in [*self._frozen_parts(), *norms]:
            module.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        return [module for stage in self.parts_by_depth()[: self.frozen_stages + 1] for module in stage]

    def _norms(self) -> list[nn.Module]:
        # Looked up each time: a conversion to SyncBatchNorm puts new modules in their place.
        kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
        return [module for module in self.backbone.modules() if isinstance(module, kinds)]


class TSNConfig(ModelConfig):
    """Settings of TSN; the number of input channels is the length of ``mean``."""

    kind: str = "tsn"
    backbone: ResNet2dName = "resnet50"
    """Which of torchvision's residual networks sees the frames."""
    pretrained: str | None = None
    """Name of torchvision's ImageNet weights to start from, as IMAGENET1K_V1; none is a random start."""
    dropout: float = Field(0.4, ge=0, lt=1)
    """Share of the averaged features dropped in training."""
    norm_eval: bool = False
    """Batch norms keep their running statistics in training."""
    partial_bn: bool = False
    """Every batch norm but the first keeps its statistics and weights in training."""
    frozen_stages: int = Field(-1, ge=-1, le=4)
    """-1 trains all; 0 freezes the stem; n also freezes the first n stages."""

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        if self.pretrained is not None:
            try:
                check_imagenet_weights(self.backbone, self.pretrained)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    def build(self) -> TSN:
        return TSN(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            pretrained=self.pretrained,
            dropout=self.dropout,
            norm_eval=self.norm_eval,
            partial_bn=self.partial_bn,
            frozen_stages=self.frozen_stages,
        )


def tsn_r50(num_classes: int = 400) -> TSN:
    """24.3 M parameters; 1x1x3 is trained on 3 frames of a video, 1x1x8 on 8.

    Source: arXiv 1608.00859, with ResNet-50 as in MMAction2's tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e.
    """
    return TSNConfig(num_classes=num_classes, backbone="resnet50").build()
