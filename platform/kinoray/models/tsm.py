"""TSM: a 2D network in which a part of each frame's channels comes from the frame before or after.

Source: arXiv 1811.08383; non-local blocks: arXiv 1711.07971. Numbers compared with ResNetTSM, MobileNetV2TSM,
MobileOneTSM and TSMHead of MMAction2 at 4d6c934.
"""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual

from kinoray.errors import ConfigError
from kinoray.models.layers.joined_frames import as_clips, check_num_frames, join_after, join_before
from kinoray.models.layers.mobileone import MobileOneBlock
from kinoray.models.layers.non_local import NON_LOCAL_KEYS, NonLocal3d, NonLocalKind
from kinoray.models.layers.resnet2d import stages_of_blocks
from kinoray.models.tsn import TSN, FramesConfig

MMACTION2_KEYS = (*NON_LOCAL_KEYS, (r"\.block\.", "."), (r"\.net\.", "."))
"""Rules from MMAction2's names, before those of the 2D network: its shifts and non-local blocks wrap what is there."""

# Every other block of ResNets this deep is shifted: the published code's n_round.
_DEEP = 23
# As MMAction2 does: in stages 2 and 3, after every second block.
_NON_LOCAL_STAGES = (2, 3)


class TemporalShift(nn.Module):
    """The first channels come from the next frame, as many from the one before, the rest stays; beyond the clip is 0.

    Args:
        num_frames: T.
        shift_div: so many parts has each frame; one of them is moved in each direction.
    """

    def __init__(self, num_frames: int, shift_div: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.shift_div = shift_div

    def forward(self, frames: Tensor) -> Tensor:
        """``(B * T, C, H, W)`` -> the same shape."""
        clips = as_clips(frames, self.num_frames)
        fold = clips.shape[2] // self.shift_div
        from_next, from_previous, kept = clips[:, :, :fold], clips[:, :, fold : 2 * fold], clips[:, :, 2 * fold :]
        nothing = torch.zeros_like(from_next[:, :1])
        from_next = torch.cat([from_next[:, 1:], nothing], dim=1)
        from_previous = torch.cat([nothing, from_previous[:, :-1]], dim=1)
        return torch.cat([from_next, from_previous, kept], dim=2).flatten(0, 1)


class NonLocalFrames(NonLocal3d):
    """A non-local block over space and time, for the frames of a 2D network."""

    def __init__(self, num_frames: int, channels: int, kind: NonLocalKind) -> None:
        super().__init__(channels, kind)
        self.num_frames = num_frames

    def forward(self, frames: Tensor) -> Tensor:
        """``(B * T, C, H, W)`` -> the same shape."""
        maps = super().forward(as_clips(frames, self.num_frames).transpose(1, 2))
        return maps.transpose(1, 2).flatten(0, 1)


class TSM(TSN):
    """TSN with shifts at the beginning of residual branches.

    In ResNets, torchvision's or timm's, they come before a block's first convolution, in MobileNetV2 likewise where the
    block has a shortcut, in MobileOne before every block as a whole, so that its branches can still be merged.

    Args:
        num_classes: K.
        mean: see ``TSN``.
        std: see ``TSN``.
        backbone: which 2D network.
        num_frames: how many are joined; a view has as many or a multiple, of which each part is on its own.
        shift_div: see ``TemporalShift``.
        non_local: which non-local blocks follow every second block of stages 2 and 3; for ResNets with bottlenecks.
        dropout: share of the averaged features dropped in training.
    """

    JOINING_KEYS = MMACTION2_KEYS

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        backbone: str = "resnet50",
        num_frames: int = 8,
        shift_div: int = 8,
        non_local: NonLocalKind | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            num_classes=num_classes, mean=mean, std=std, backbone=backbone, dropout=dropout, init_std=0.001
        )
        self.num_frames = num_frames
        shift_frames(self.backbone, num_frames, shift_div)
        if non_local is not None:
            stages = list(stages_of_blocks(self.backbone))
            for block in (block for number in _NON_LOCAL_STAGES for block in stages[number - 1][::2]):
                channels = (block.conv3 if hasattr(block, "conv3") else block.conv2).out_channels
                join_after(block, "non_local", NonLocalFrames(num_frames, channels, non_local))

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``."""
        check_num_frames(clips, self.num_frames)
        return super().forward_features(clips)


def shift_frames(trunk: nn.Module, num_frames: int, shift_div: int) -> None:
    """Put shifts into a 2D network; see ``TemporalShift``.

    Raises:
        ConfigError: it has no residual blocks as TSM knows them.
    """
    layers = list(_shifted_layers(trunk))
    if not layers:
        raise ConfigError(
            "model.backbone: shifts go into residual blocks, got a network without; take a ResNet of torchvision or "
            "timm (ResNeXt, ResNeSt and the like), MobileNetV2 or MobileOne"
        )
    for layer in layers:
        join_before(layer, "shift", TemporalShift(num_frames, shift_div))


def _shifted_layers(trunk: nn.Module) -> Iterator[nn.Module]:
    """What a shift comes before."""
    if hasattr(trunk, "layer1"):
        stages = list(stages_of_blocks(trunk))
        step = 2 if max(map(len, stages)) >= _DEEP else 1
        for block in (block for stage in stages for block in stage[::step]):
            yield block.conv1
        return
    for module in trunk.modules():
        if isinstance(module, InvertedResidual) and module.use_res_connect:
            yield module.conv[0][0]
        elif isinstance(module, MobileOneBlock):
            yield module


class TSMConfig(FramesConfig):
    """Settings of TSM."""

    kind: str = "tsm"
    num_frames: int = Field(8, gt=1)
    """How many frames are joined; views have as many, or a multiple, of which each part is joined on its own."""
    shift_div: int = Field(8, ge=2)
    """One part of so many of a frame's channels goes to the frame before, another to the one after."""
    non_local: NonLocalKind | None = None
    """Which non-local blocks follow every second block of a ResNet's stages 2 and 3."""

    @model_validator(mode="after")
    def _has_a_place_for_non_local(self) -> Self:
        if self.non_local is not None and not self.backbone.startswith("resnet"):
            raise ValueError(f"non_local: only ResNets have places for it, got backbone '{self.backbone}'")
        return self

    def build(self) -> TSM:
        model = TSM(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            num_frames=self.num_frames,
            shift_div=self.shift_div,
            non_local=self.non_local,
            dropout=self.dropout,
        )
        return self.finish(model)


def tsm_r50(num_classes: int = 400) -> TSM:
    """24.3 M parameters, on 8 frames of a video.

    Source: arXiv 1811.08383, table 1; MMAction2's tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e.
    """
    return TSMConfig(num_classes=num_classes).build()
