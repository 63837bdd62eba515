"""Audio TSN: a 2D network that sees a spectrogram as a grey picture of frames times bands.

Source: arXiv 1608.00859 (the network), 2001.08740 (spectrograms of a video's sound). Numbers compared with
RecognizerAudio, ResNet and TSNAudioHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import RecognizerConfig
from kinoray.models.layers.backbones2d import Backbone2dName, backbone2d
from kinoray.models.layers.classifier import classifier
from kinoray.models.tsn import HEAD_KEYS
from kinoray.models.weights import KeyRules


class AudioTSN(Recognizer):
    """2D network, the mean over frames and bands, and a linear classifier.

    Args:
        num_classes: K.
        backbone: which 2D network.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(self, *, num_classes: int, backbone: Backbone2dName = "resnet18", dropout: float = 0.5) -> None:
        super().__init__(num_classes=num_classes)
        network = backbone2d(backbone, in_channels=1)
        self.backbone = network.trunk
        self.stages = network.stages
        self.backbone_keys = network.key_rules
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(network.width, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, 1, T, F)`` -> ``(B, D, T / 32, F / 32)``."""
        maps: Tensor = self.backbone(clips)
        return maps

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, t, f)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": (*self.backbone_keys["MMAction2"], *HEAD_KEYS)}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.backbone.get_submodule(name) for name in stage] for stage in self.stages]


class AudioTSNConfig(RecognizerConfig):
    """Settings of TSN on spectrograms."""

    views = "audio"

    kind: str = "audio_tsn"
    backbone: Backbone2dName = "resnet18"
    """Which 2D network sees the spectrogram: torchvision's ResNets and MobileNetV2, or MobileOne."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""

    def build(self) -> AudioTSN:
        return AudioTSN(num_classes=self.num_classes, backbone=self.backbone, dropout=self.dropout)


def audio_tsn_r18(num_classes: int = 400) -> AudioTSN:
    """11.4 M parameters; sees 128 frames of 80 bands.

    Source: MMAction2's tsn_r18_8xb320-64x1x1-100e_kinetics400-audio-feature.
    """
    return AudioTSNConfig(num_classes=num_classes).build()
