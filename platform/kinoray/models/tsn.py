"""TSN: a 2D network on a few frames of a video, whose features are averaged before they are scored.

TSM, TIN, TANet and TRN are TSN with something that joins the frames, inside the 2D network or in the head.

Source: arXiv 1608.00859. Numbers compared with Recognizer2D, ResNet and TSNHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self, TypeVar

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers import resnet2d
from kinoray.models.layers.backbones2d import OWN_NAMES, AnyBackbone2d, backbone2d
from kinoray.models.layers.classifier import classifier
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

HEAD_KEYS = ((r"^cls_head\.fc_cls\.", "fc."),)
"""Rules for ``rename_keys``, from MMAction2's classifiers to ours."""
MMACTION2_KEYS = (*resnet2d.MMACTION2_KEYS, *HEAD_KEYS)
"""Likewise, from MMAction2's checkpoints of a TSN on a ResNet to this module's state dict."""


class TSN(Recognizer):
    """2D network, the mean over space and time, and a linear classifier.

    The mean comes before dropout and classifier, as in MMAction2; the published code averages after them, which scores
    the same but drops every frame's features on their own.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C (3 for RGB, 10 for five stacked flow fields).
        std: one per channel, grey levels.
        backbone: which 2D network, see ``backbone2d``.
        dropout: share of the averaged features dropped in training.
        init_std: of the classifier's first weights.
    """

    JOINING_KEYS: ClassVar[KeyRules] = ()
    """Rules from MMAction2's names of what joins the frames, before those of the 2D network."""

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: str = "resnet50",
        dropout: float = 0.4,
        init_std: float = 0.01,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        network = backbone2d(backbone, in_channels=len(mean))
        self.backbone = network.trunk
        self.width = network.width
        self.stages = network.stages
        self.backbone_keys = network.key_rules
        self.norm_eval = self.partial_bn = False
        self.frozen_stages = -1
        self.dropout = nn.Dropout(dropout)
        self.fc: nn.Module = classifier(network.width, num_classes, init_std)

    def freeze(self, *, norm_eval: bool, partial_bn: bool, frozen_stages: int) -> None:
        """Say what stays as it is in training.

        Args:
            norm_eval: batch norms keep their running statistics in training; their weights are still trained.
            partial_bn: every batch norm but the first keeps statistics and weights in training.
            frozen_stages: -1 trains all; 0 freezes the stem; n also freezes the first n stages.
        """
        self.norm_eval, self.partial_bn, self.frozen_stages = norm_eval, partial_bn, frozen_stages
        for module in [*self._frozen_parts(), *(self._norms()[1:] if partial_bn else [])]:
            module.requires_grad_(requires_grad=False)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``."""
        b, _, t = clips.shape[:3]
        maps: Tensor = self.backbone(clips.transpose(1, 2).flatten(0, 1))
        return maps.view(b, t, *maps.shape[1:]).transpose(1, 2)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, T, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        rules = dict(self.backbone_keys)
        return rules | {"MMAction2": (*self.JOINING_KEYS, *rules["MMAction2"], *HEAD_KEYS)}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.backbone.get_submodule(name) for name in stage] for stage in self.stages]

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
        return [module for module in self.backbone.modules() if isinstance(module, _BatchNorm)]


Frames = TypeVar("Frames", bound=TSN)


class FramesConfig(ModelConfig):
    """Settings of recognizers with a 2D network; the number of input channels is the length of ``mean``."""

    backbone: AnyBackbone2d = "resnet50"
    """Which 2D network sees the frames: a ResNet, MobileNetV2, MobileOne; or torchvision:NAME, timm:NAME for theirs."""
    pretrained: str | None = None
    """Weights to start from: by their library's name for them, as torchvision's IMAGENET1K_V1 or timm's a1_in1k; a file
    or a URL; none is a random start."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the features dropped in training, before they are scored."""
    norm_eval: bool = False
    """Batch norms keep their running statistics in training."""
    partial_bn: bool = False
    """Every batch norm but the first keeps its statistics and weights in training."""
    frozen_stages: int = Field(-1, ge=-1, le=8)
    """-1 trains all; 0 freezes the stem; n also freezes the first n stages: 4 in all, MobileNetV2 has 8. Of a library's
    network other than a ResNet: its first n + 1 parts."""

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        try:
            source_for(self.pretrained, self.backbone)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _stages_exist(self) -> Self:
        if self.frozen_stages > 4 and self.backbone in set(OWN_NAMES) - {"mobilenet_v2"}:
            raise ValueError(f"frozen_stages: {self.backbone} has 4 stages, got {self.frozen_stages}")
        return self

    def finish(self, model: Frames) -> Frames:
        """Freeze and start a recognizer as the settings say."""
        model.freeze(norm_eval=self.norm_eval, partial_bn=self.partial_bn, frozen_stages=self.frozen_stages)
        load_pretrained(model, source_for(self.pretrained, self.backbone))
        return model


class TSNConfig(FramesConfig):
    """Settings of TSN."""

    kind: str = "tsn"
    dropout: float = Field(0.4, ge=0, lt=1)
    """Share of the averaged features dropped in training."""

    def build(self) -> TSN:
        model = TSN(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            dropout=self.dropout,
        )
        return self.finish(model)


def tsn_r50(num_classes: int = 400) -> TSN:
    """24.3 M parameters; 1x1x3 is trained on 3 frames of a video, 1x1x8 on 8.

    Source: arXiv 1608.00859, with ResNet-50 as in MMAction2's tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e.
    """
    return TSNConfig(num_classes=num_classes, backbone="resnet50").build()
