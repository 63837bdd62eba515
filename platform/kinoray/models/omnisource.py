"""OmniSource: SlowOnly on web videos, with a hidden layer before its classifier.

It was trained on pictures as well, with a classifier of their own; that part is left out here.

Source: arXiv 2003.13042. Numbers compared with OmniResNet and OmniHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from kinoray.models.layers.classifier import classifier
from kinoray.models.pooled import InflatedConfig, InflatedResNet3d
from kinoray.models.pretrained import load_pretrained
from kinoray.models.slowonly import OMNISOURCE_KEYS, slowonly_backbone
from kinoray.models.weights import KeyRules

MMACTION2_KEYS: KeyRules = (
    *OMNISOURCE_KEYS,
    (r"^cls_head\.fc2d\.", ()),
    (r"^cls_head\.fc3d\.2\.", "fc.hidden."),
    (r"^cls_head\.fc3d\.3\.", "fc.bn."),
    (r"^cls_head\.fc3d\.6\.", "fc.scores."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""

# Of the backbone's running statistics, as in the reference.
_NORM_MOMENTUM = 0.01


class HiddenHead(nn.Sequential):
    """A hidden layer, twice as wide as there are classes, and a linear classifier: ``(B, D)`` -> ``(B, K)``."""

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = classifier(width, 2 * num_classes)
        self.bn = nn.BatchNorm1d(2 * num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.scores = classifier(2 * num_classes, num_classes)


class OmniSource(InflatedResNet3d):
    """SlowOnly of 50 layers, the mean over space and time, a hidden layer, a classifier.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        width: channels of the stem.
        dropout: share of the hidden features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        backbone = slowonly_backbone(50, in_channels=len(mean), width=width)
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = _NORM_MOMENTUM
        super().__init__(backbone, num_classes=num_classes, mean=mean, std=std, dropout=0.0)
        self.fc = HiddenHead(backbone.channels[-1], num_classes, dropout)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, t, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(features.mean(dim=(2, 3, 4)))
        return scores

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {**super().key_rules(), "MMAction2": MMACTION2_KEYS}


class OmniSourceConfig(InflatedConfig):
    """Settings of OmniSource."""

    kind: str = "omnisource"
    depth: Literal[50] = 50
    """Layers with weights."""

    def build(self) -> OmniSource:
        model = OmniSource(
            num_classes=self.num_classes, mean=self.mean, std=self.std, width=self.width, dropout=self.dropout
        )
        load_pretrained(model, self.source(), self.inflation)
        return model


def omnisource_r50(num_classes: int = 400) -> OmniSource:
    """33.6 M parameters; trained on 8 frames, 8 apart, and on pictures.

    Source: arXiv 2003.13042; MMAction2's slowonly_r50_8xb16-8x8x1-256e_imagenet-kinetics400.
    """
    return OmniSourceConfig(num_classes=num_classes).build()
