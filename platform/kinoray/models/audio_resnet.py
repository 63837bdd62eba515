"""The audio pathway of AVSlowFast on its own: a 2D ResNet whose first stages look along frames and bands apart.

Source: arXiv 2001.08740. Built as ResNetAudio and TSNAudioHead of MMAction2 at 4d6c934 are.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import RecognizerConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.weights import KeyRules

AudioDepth = Literal[50, 101, 152]

NUM_BLOCKS: dict[AudioDepth, tuple[int, int, int, int]] = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
FACTORIZED = (True, True, False, False)
"""Which stages look along frames and bands apart."""
EXPANSION = 4

MMACTION2_KEYS: KeyRules = (
    (r"\.conv_1\.", ".frames."),
    (r"\.conv_2\.", ".bands."),
    (r"^backbone\.conv1\.conv\.", "stem."),
    (r"\.conv2\.conv\.(frames|bands)\.", r".conv2.\1."),
    (r"\.conv2\.conv\.", ".conv2."),
    (r"^backbone\.conv1\.bn\.", "stem_bn."),
    (r"^backbone\.", ""),
    (r"^cls_head\.fc_cls\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm and, unless told otherwise, ReLU; at stride 1 the size stays."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        if relu:
            self.relu = nn.ReLU(inplace=True)


class AlongEach(nn.Module):
    """One convolution along frames, one along bands."""

    def __init__(self, in_channels: int, channels: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.frames = ConvNorm(in_channels, channels, (kernel, 1), stride=stride)
        self.bands = ConvNorm(in_channels, channels, (1, kernel), stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, F)`` -> ``(B, 2 * channels, T / stride, F / stride)``, those along frames first."""
        return torch.cat([self.frames(x), self.bands(x)], dim=1)


class AudioBottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; the 3x3 one may be a 3x1 and a 1x3 side by side."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, factorized: bool) -> None:
        super().__init__()
        width = channels * EXPANSION
        self.conv1 = ConvNorm(in_channels, channels, (1, 1))
        self.conv2: nn.Module = (
            AlongEach(channels, channels, 3, stride=stride)
            if factorized
            else nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        )
        self.conv3 = ConvNorm(channels * (1 + factorized), width, (1, 1), relu=False)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != width or stride != 1:
            self.downsample = ConvNorm(in_channels, width, (1, 1), stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, F)`` -> ``(B, 4 * channels, T / stride, F / stride)``."""
        return torch.relu(self.conv3(self.conv2(self.conv1(x))) + self.downsample(x))


class AudioResNet(Recognizer):
    """Stem, four stages, the mean over frames and bands, and a linear classifier.

    Args:
        num_classes: K.
        depth: layers with weights in the network whose bottlenecks these are.
        width: channels of the stem.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(self, *, num_classes: int, depth: AudioDepth = 50, width: int = 32, dropout: float = 0.5) -> None:
        super().__init__(num_classes=num_classes)
        self.stem = AlongEach(1, width, 9)
        self.stem_bn = nn.BatchNorm2d(width)
        channels = (width, *(width * 2**i * EXPANSION for i in range(4)))
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                *(
                    AudioBottleneck(
                        channels[stage + 1] if number else channels[stage],
                        width * 2**stage,
                        stride=2 if stage and not number else 1,
                        factorized=FACTORIZED[stage],
                    )
                    for number in range(NUM_BLOCKS[depth][stage])
                )
            )
            for stage in range(4)
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(channels[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, AudioBottleneck):
                nn.init.zeros_(module.conv3.bn.weight)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, 1, T, F)`` -> ``(B, D, T / 8, F / 8)``."""
        x = torch.relu(self.stem_bn(self.stem.frames(clips) + self.stem.bands(clips)))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, t, f)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.stem, self.stem_bn], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]


class AudioResNetConfig(RecognizerConfig):
    """Settings of AVSlowFast's audio pathway."""

    views = "audio"

    kind: str = "audio_resnet"
    depth: AudioDepth = 50
    """Layers with weights in the network whose bottlenecks these are."""
    width: int = Field(32, gt=0)
    """Channels of the stem; 32 in the published network."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""

    def build(self) -> AudioResNet:
        return AudioResNet(num_classes=self.num_classes, depth=self.depth, width=self.width, dropout=self.dropout)


def audio_resnet_r50(num_classes: int = 400) -> AudioResNet:
    """6.3 M parameters; sees 128 frames of 80 bands.

    Source: arXiv 2001.08740; MMAction2's audioonly_r50_8xb160-64x1x1-100e_kinetics400-audio-feature.
    """
    return AudioResNetConfig(num_classes=num_classes).build()
