"""The table of recognizers and the base of their configurations. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, PositiveFloat, model_validator

from kinoray.config.kinds import KindConfig, KindTable

if TYPE_CHECKING:
    from kinoray.models.base import Recognizer

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class RecognizerConfig(KindConfig):
    """What every recognizer is told, whatever it looks at."""

    views: ClassVar[str] = ""
    """The kind of view that it takes, as ``data.train.kind`` names them; empty: it is not known."""

    num_classes: int = Field(gt=0)
    """K, the number of scores."""

    @abstractmethod
    def build(self) -> Recognizer:
        """Make the recognizer with fresh (or, where the family offers it, pretrained) weights."""

    def without_pretrained(self) -> Self:
        """The same recognizer with fresh weights: nothing is fetched where a checkpoint's weights follow.

        A family that names its pretrained weights in another field than ``pretrained`` overrides this.
        """
        if "pretrained" not in type(self).model_fields:
            return self
        return self.model_copy(update={"pretrained": None})


class ModelConfig(RecognizerConfig):
    """What every recognizer of pictures is told."""

    views = "video"

    mean: tuple[float, ...] = Field(IMAGENET_MEAN, min_length=1)
    """Per channel, in grey levels 0..255; subtracted inside the model."""
    std: tuple[PositiveFloat, ...] = IMAGENET_STD
    """Per channel, in grey levels 0..255; divides inside the model."""

    @model_validator(mode="after")
    def _one_std_per_mean(self) -> Self:
        if len(self.std) != len(self.mean):
            raise ValueError(f"std: needs one number per channel of mean ({len(self.mean)}), got {len(self.std)}")
        return self


MODELS = KindTable(
    what="model",
    base=RecognizerConfig,
    kinds={
        "tiny3d": "kinoray.models.tiny3d:Tiny3DConfig",
        "tsn": "kinoray.models.tsn:TSNConfig",
        "tsm": "kinoray.models.tsm:TSMConfig",
        "tin": "kinoray.models.tin:TINConfig",
        "trn": "kinoray.models.trn:TRNConfig",
        "tanet": "kinoray.models.tanet:TANetConfig",
        "tpn": "kinoray.models.tpn:TPNConfig",
        "c2d": "kinoray.models.c2d:C2DConfig",
        "slowfast": "kinoray.models.slowfast:SlowFastConfig",
        "slowonly": "kinoray.models.slowonly:SlowOnlyConfig",
        "omnisource": "kinoray.models.omnisource:OmniSourceConfig",
        "i3d": "kinoray.models.i3d:I3DConfig",
        "r2plus1d": "kinoray.models.r2plus1d:R2Plus1DConfig",
        "csn": "kinoray.models.csn:CSNConfig",
        "c3d": "kinoray.models.c3d:C3DConfig",
        "x3d": "kinoray.models.x3d:X3DConfig",
        "torchvision_video": "kinoray.models.torchvision_video:TorchvisionVideoConfig",
        "huggingface": "kinoray.models.huggingface:HuggingFaceConfig",
        "xclip": "kinoray.models.xclip:XCLIPConfig",
        "mvit": "kinoray.models.mvit:MViTConfig",
        "video_swin": "kinoray.models.video_swin:VideoSwinConfig",
        "uniformer": "kinoray.models.uniformer:UniFormerConfig",
        "timesformer": "kinoray.models.timesformer:TimeSformerConfig",
        "videomae": "kinoray.models.videomae:VideoMAEConfig",
        "uniformerv2": "kinoray.models.uniformerv2:UniFormerV2Config",
        "stgcn": "kinoray.models.stgcn:STGCNConfig",
        "stgcnpp": "kinoray.models.stgcn:STGCNPPConfig",
        "agcn": "kinoray.models.agcn:AGCNConfig",
        "posec3d": "kinoray.models.posec3d:PoseC3DConfig",
        "rgbpose_conv3d": "kinoray.models.rgbpose_conv3d:RGBPoseConv3DConfig",
        "audio_tsn": "kinoray.models.audio_tsn:AudioTSNConfig",
        "audio_resnet": "kinoray.models.audio_resnet:AudioResNetConfig",
    },
)
AnyModel = Annotated[RecognizerConfig, MODELS]
