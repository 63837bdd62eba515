"""C3D: eight 3x3x3 convolutions, five poolings, two wide linear layers; clips of one size.

Source: arXiv 1412.0767. Numbers compared with C3D and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.weights import KeyRules

SPORTS1M_MEAN = (104.0, 117.0, 128.0)
SPORTS1M_STD = (1.0, 1.0, 1.0)

MMACTION2_KEYS: KeyRules = (
    (r"^(?:backbone\.)?(conv\d[ab])\.conv\.", r"backbone.\1."),
    (r"^(?:backbone\.)?(fc[67])\.", r"\1."),
    (r"^cls_head\.fc_cls\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints, and its file of a backbone alone, to this module's."""

# Widths of the convolutions between two poolings, in multiples of the first.
_STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))
_NUM_FRAMES_PER_PLACE = 16
_LINEAR_STD = 0.005


class C3D(Recognizer):
    """Plain 3D network; its linear layers see every place of the last map, so clips have one size.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        num_frames: T, at least 16.
        crop: H and W.
        width: channels of the first convolution.
        hidden: width of the two linear layers before the classifier.
        dropout: share of what the two linear layers give that is dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        num_frames: int = 16,
        crop: int = 112,
        width: int = 64,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.size = (num_frames, crop, crop)
        self.backbone = _trunk(len(mean), width)
        num_places = num_frames // _NUM_FRAMES_PER_PLACE * (crop // 32 + 1) ** 2
        self.fc6 = classifier(num_places * width * _STAGES[-1][-1], hidden, _LINEAR_STD)
        self.fc7 = classifier(hidden, hidden, _LINEAR_STD)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(hidden, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D)``.

        Raises:
            ConfigError: clips have another size.
        """
        if clips.shape[2:] != self.size:
            wanted, given = (" x ".join(map(str, size)) for size in (self.size, clips.shape[2:]))
            raise ConfigError(
                f"model: C3D for clips of {wanted} (frames, height, width), got {given}; set model.num_frames and "
                "model.crop to what data's clip_len and crop say"
            )
        rows = self.backbone(clips).flatten(1)
        features: Tensor = self.relu(self.fc7(self.dropout(self.relu(self.fc6(rows)))))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        stages = [[f"conv{number}{letter}" for letter in "ab"[: len(row)]] for number, row in enumerate(_STAGES, 1)]
        return [*([self.backbone.get_submodule(name) for name in stage] for stage in stages), [self.fc6], [self.fc7]]


def _trunk(in_channels: int, width: int) -> nn.Sequential:
    """``(B, C, T, H, W)`` -> ``(B, 8 * width, T / 16, H / 32 + 1, W / 32 + 1)``, rounded down."""
    trunk = nn.Sequential()
    channels = in_channels
    for number, row in enumerate(_STAGES, 1):
        for letter, factor in zip("ab", row, strict=False):
            convolution = nn.Conv3d(channels, width * factor, 3, padding=1)
            channels = width * factor
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            trunk.add_module(f"conv{number}{letter}", convolution)
            trunk.add_module(f"relu{number}{letter}", nn.ReLU(inplace=True))
        kernel = (1, 2, 2) if number == 1 else (2, 2, 2)
        padding = (0, 1, 1) if number == len(_STAGES) else (0, 0, 0)
        trunk.add_module(f"pool{number}", nn.MaxPool3d(kernel, kernel, padding))
    return trunk


class C3DConfig(ModelConfig):
    """Settings of C3D; the number of input channels is the length of ``mean``."""

    kind: str = "c3d"
    mean: tuple[float, ...] = Field(SPORTS1M_MEAN, min_length=1)
    std: tuple[PositiveFloat, ...] = SPORTS1M_STD
    num_frames: int = Field(16, ge=16)
    """T of the clips, as the data's clip_len."""
    crop: int = Field(112, ge=16)
    """Height and width of the clips, as the data's crop."""
    width: int = Field(64, gt=0)
    """Channels of the first convolution; 64 in the published network."""
    hidden: int = Field(4096, gt=0)
    """Width of the two linear layers before the classifier."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of what the two linear layers give that is dropped in training."""

    def build(self) -> C3D:
        return C3D(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            num_frames=self.num_frames,
            crop=self.crop,
            width=self.width,
            hidden=self.hidden,
            dropout=self.dropout,
        )


def c3d(num_classes: int = 101) -> C3D:
    """78.4 M parameters for 101 classes; trained on 16 frames of 112 x 112.

    Source: arXiv 1412.0767; MMAction2's c3d_sports1m-pretrained_8xb30-16x1x1-45e.
    """
    return C3DConfig(num_classes=num_classes).build()
