"""torchvision's video networks, with its own weights: R3D, MC3, R(2+1)D, S3D, MViT and Video Swin.

Source: arXiv 1711.11248 (r3d_18, mc3_18, r2plus1d_18), 1712.04851 (s3d), 2104.11227 (mvit_v1_b), 2112.01526
(mvit_v2_s), 2106.13230 (swin3d); the code is torchvision's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torchvision
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

NetworkName = Literal[
    "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"
]
Numbers = tuple[float, float, float]

# Grey levels that the weights were trained with; torchvision states them as shares of 255.
_KINETICS: tuple[Numbers, Numbers] = ((110.2008, 100.63983, 95.99475), (58.14765, 56.46975, 55.332195))
_HALF: tuple[Numbers, Numbers] = ((114.75,) * 3, (57.375,) * 3)
_IMAGENET: tuple[Numbers, Numbers] = (IMAGENET_MEAN, IMAGENET_STD)
_RESNET_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


class _Network(NamedTuple):
    """What differs from network to network.

    Attributes:
        head: torchvision's name of the last layers.
        normalization: mean and std.
        parts: in order; of lists and chains their members.
        least: frames, height and width that it needs at least; of MViT exactly.
    """

    head: str
    normalization: tuple[Numbers, Numbers]
    parts: tuple[str, ...]
    least: tuple[int, int, int] = (1, 1, 1)
    is_exact: bool = False


_MVIT = _Network("head", _HALF, ("conv_proj", "pos_encoding", "blocks", "norm"), (16, 224, 224), is_exact=True)
_SWIN = _Network("head", _IMAGENET, ("patch_embed", "features", "norm"))
NETWORKS: dict[str, _Network] = {
    "r3d_18": _Network("fc", _KINETICS, _RESNET_STAGES),
    "mc3_18": _Network("fc", _KINETICS, _RESNET_STAGES),
    "r2plus1d_18": _Network("fc", _KINETICS, _RESNET_STAGES),
    "s3d": _Network("classifier", _KINETICS, ("features",), (14, 224, 224)),
    "mvit_v1_b": _MVIT,
    "mvit_v2_s": _MVIT,
    "swin3d_t": _SWIN,
    "swin3d_s": _SWIN,
    "swin3d_b": _SWIN,
}


class TorchvisionVideo(Recognizer):
    """A network of torchvision's, pooled by itself, and its own classifier.

    Args:
        network: torchvision's name.
        num_classes: K.
        mean: three, grey levels.
        std: three, grey levels.
        dropout: share of the features dropped in training.
    """

    def __init__(
        self, network: NetworkName, *, num_classes: int, mean: Sequence[float], std: Sequence[float], dropout: float
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.known = NETWORKS[network]
        self.backbone: nn.Module = torchvision.models.get_model(network, num_classes=num_classes)
        self.fc: nn.Module = self.backbone.get_submodule(self.known.head)
        setattr(self.backbone, self.known.head, nn.Identity())
        for module in self.fc.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.dropout = nn.Dropout(dropout)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` -> ``(B, D)``.

        Raises:
            ConfigError: the network cannot take views of that size.
        """
        size, least = tuple(clips.shape[2:]), self.known.least
        if size != least if self.known.is_exact else any(a < b for a, b in zip(size, least, strict=True)):
            wanted = _shape(least) + ("" if self.known.is_exact else " or more")
            raise ConfigError(
                f"model: {type(self.backbone).__name__} takes views of {wanted}, got {_shape(size)}; set the "
                "sampling's number of frames and the crop"
            )
        features: Tensor = self.backbone(clips)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``."""
        features = self.dropout(features)
        if self.known.head == "classifier":  # S3D's is a convolution
            features = features[:, :, None, None, None]
        scores: Tensor = self.fc(features)
        return scores.flatten(1)

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        head = self.known.head
        return {"torchvision": ((rf"^(?!{head}\.)", "backbone."), (rf"^{head}\.", "fc."))}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = []
        for name in self.known.parts:
            part = self.backbone.get_submodule(name)
            is_list = name in {"blocks", "features"}
            stages += [[member] for member in part.children()] if is_list else [[part]]
        return stages


class TorchvisionVideoConfig(ModelConfig):
    """Settings of torchvision's video networks; mean and std are those of a network's published weights."""

    kind: str = "torchvision_video"
    network: NetworkName = "r3d_18"
    """torchvision's name."""
    pretrained: str | None = None
    """Weights to start from: torchvision's by name, as KINETICS400_V1, a file or a URL; none is a random start. The
    classifier is kept where there are as many classes."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the features dropped in training."""

    @model_validator(mode="before")
    @classmethod
    def _normalizes_as_its_weights(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = NETWORKS.get(str(values.get("network", cls.model_fields["network"].default)))
        if known is None:
            return values
        mean, std = known.normalization
        return {"mean": mean, "std": std, **values}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.mean) != 3:
            raise ValueError(f"mean: torchvision's video networks see 3 channels, got {len(self.mean)}")
        try:
            self._source()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> TorchvisionVideo:
        model = TorchvisionVideo(
            self.network, num_classes=self.num_classes, mean=self.mean, std=self.std, dropout=self.dropout
        )
        load_pretrained(model, self._source())
        return model

    def _source(self) -> str | None:
        return source_for(self.pretrained, self.network)


def r2plus1d_18(num_classes: int = 400) -> TorchvisionVideo:
    """31.5 M parameters, on 16 frames of 112 x 112.

    Source: arXiv 1711.11248; torchvision's R2Plus1D_18_Weights.KINETICS400_V1.
    """
    return TorchvisionVideoConfig(num_classes=num_classes, network="r2plus1d_18").build()


def mvit_v2_s(num_classes: int = 400) -> TorchvisionVideo:
    """34.5 M parameters, on 16 frames of 224 x 224.

    Source: arXiv 2112.01526; torchvision's MViT_V2_S_Weights.KINETICS400_V1.
    """
    return TorchvisionVideoConfig(num_classes=num_classes, network="mvit_v2_s").build()


def _shape(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
