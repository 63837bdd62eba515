"""TPN: a pyramid of two levels over the maps of a network, which follows slow and fast motion at once.

On TSM and on SlowOnly. In training an auxiliary head scores the lower level by itself.

Source: arXiv 2004.03548. Numbers compared with TPN, ResNetTSM and TPNHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers import resnet2d, resnet3d
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.joined_frames import as_clips, check_num_frames
from kinoray.models.layers.resnet2d import ResNet2dName
from kinoray.models.layers.resnet3d import ConvNorm3d, Depth, ResNet3d
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.slowonly import slowonly_backbone
from kinoray.models.tsm import MMACTION2_KEYS as TSM_KEYS
from kinoray.models.tsm import shift_frames
from kinoray.models.weights import KeyRules

Flow = Literal["cascade", "parallel"]

NECK_KEYS: KeyRules = (
    (r"^neck\.spatial_modulation\.spatial_modulation\.0\.", "neck.spatial."),
    (r"^neck\.temporal_modulation_ops\.(\d)\.conv\.conv\.", r"neck.temporal.\1."),
    (r"^neck\.downsample_ops\.0\.conv\.conv\.", "neck.upward."),
    (r"^neck\.level_fusion_1\.", "neck.top_down."),
    (r"^neck\.level_fusion_2\.", "neck.bottom_up."),
    (r"^neck\.(top_down|bottom_up)\.downsamples\.(\d)\.conv\.", r"neck.\1.levels.\2."),
    (r"^neck\.(top_down|bottom_up)\.fusion_conv\.", r"neck.\1.fuse."),
    (r"^neck\.pyramid_fusion\.", "neck.fuse."),
    (r"^neck\.aux_head\.conv\.", "auxiliary."),
    (r"^neck\.aux_head\.fc\.", "fc.auxiliary."),
    (r"^cls_head\.fc_cls\.", "fc.main."),
)
"""Rules for ``rename_keys``, from MMAction2's neck and heads to ours; those of the backbone follow."""
MMACTION2_KEYS_2D: KeyRules = (*NECK_KEYS, *TSM_KEYS, *resnet2d.MMACTION2_KEYS)
"""Likewise, from whole checkpoints of TPN on TSM."""
MMACTION2_KEYS_3D: KeyRules = (*NECK_KEYS, *resnet3d.MMACTION2_KEYS)
"""Likewise, on SlowOnly."""

# As published: how many frames one pooling takes together, and the groups of the thin convolutions.
_TEMPO = 8
_GROUPS = 32


class LevelFusion(nn.Module):
    """Two levels side by side, mixed: ``(B, C, t, h, w)`` each -> ``(B, 2 C, t, h, w)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(ConvNorm3d(channels, channels, (1, 1, 1), groups=_GROUPS) for _ in range(2))
        self.fuse = ConvNorm3d(2 * channels, 2 * channels, (1, 1, 1))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        levels = [level(maps) for level, maps in zip(self.levels, (low, high), strict=True)]
        fused: Tensor = self.fuse(torch.cat(levels, dim=1))
        return fused


class TemporalPyramid(nn.Module):
    """Two maps of a network, brought to one size and tempo, and mixed from the top down and from the bottom up.

    Args:
        channels: of the lower map, of twice the height and width, and of the higher one.
        width: C of the levels; the result has twice as many channels.
        flow: whether the way up begins with what came down (cascade), or with the levels as they were (parallel).
    """

    def __init__(self, channels: tuple[int, int], width: int, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        low, high = channels
        self.spatial = nn.Sequential(ConvNorm3d(low, high, (1, 3, 3), stride=(1, 2, 2)))
        self.temporal = nn.ModuleList(
            nn.Conv3d(high, width, (3, 1, 1), padding=(1, 0, 0), groups=_GROUPS, bias=False) for _ in range(2)
        )
        self.pool = nn.MaxPool3d((_TEMPO, 1, 1), ceil_mode=True)
        self.upward = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.top_down = LevelFusion(width)
        self.bottom_up = LevelFusion(width)
        self.fuse = ConvNorm3d(4 * width, 2 * width, (1, 1, 1))
        _init_convolutions(self)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """``(B, c, T, 2 h, 2 w)`` and ``(B, c', T, h, w)`` -> ``(B, 2 C, T / 8, h, w)``, rounded up."""
        low, high = (self.pool(conv(maps)) for conv, maps in zip(self.temporal, (self.spatial(low), high), strict=True))
        came_down = low + high
        top_down = self.top_down(came_down, high)
        going_up = came_down if self.flow == "cascade" else low
        bottom_up = self.bottom_up(going_up, high + self.upward(going_up))
        fused: Tensor = self.fuse(torch.cat([top_down, bottom_up], dim=1))
        return fused


class TwoHeads(nn.Module):
    """A classifier and, where there is one, another beside it that only training asks.

    Args:
        width: D, features that the first sees.
        auxiliary_width: d, those that follow for the other; 0 where there is none.
        num_classes: K.
        dropout: share of the features dropped in training.
    """

    def __init__(self, width: int, auxiliary_width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.widths = (width, auxiliary_width)
        self.dropout = nn.Dropout(dropout)
        self.main = classifier(width, num_classes)
        if auxiliary_width:
            self.auxiliary = classifier(auxiliary_width, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``, or ``(B, D + d)`` -> ``(B, 2, K)``."""
        features = self.dropout(features)
        if features.shape[1] == self.widths[0]:
            return cast(Tensor, self.main(features))
        main, auxiliary = features[:, : self.widths[0]], features[:, self.widths[0] :]
        return torch.stack([self.main(main), self.auxiliary(auxiliary)], dim=1)


class TPN(Recognizer):
    """A backbone, a pyramid over the maps of its last two stages, their mean, and a linear classifier.

    Args:
        backbone: a 2D ResNet whose blocks join frames, or a 3D one; its last part is the last stage.
        channels: of the maps of its last two stages.
        key_rules: see ``Recognizer.key_rules``.
        num_classes: K.
        mean: one per channel, grey levels.
        std: one per channel, grey levels.
        num_frames: of a 2D backbone, how many are joined; a view has as many or a multiple, each part on its own.
        width: see ``TemporalPyramid``.
        flow: see ``TemporalPyramid``.
        auxiliary_weight: of the loss of the head that scores the lower map; 0 is none.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        backbone: nn.Sequential | ResNet3d,
        channels: tuple[int, int],
        *,
        key_rules: Mapping[str, KeyRules],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        num_frames: int = 8,
        width: int = 1024,
        flow: Flow = "cascade",
        auxiliary_weight: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.backbone = backbone
        self.rules = key_rules
        self.num_frames = num_frames
        self.neck = TemporalPyramid(channels, width, flow)
        self.auxiliary: nn.Module | None = None
        auxiliary_width = 0
        if auxiliary_weight:
            auxiliary_width = 2 * channels[0]
            self.auxiliary = ConvNorm3d(channels[0], auxiliary_width, (1, 3, 3), stride=(1, 2, 2))
            _init_convolutions(self.auxiliary)
            self.loss_weights = (1.0, auxiliary_weight)
        self.fc = TwoHeads(2 * width, auxiliary_width, num_classes, dropout)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D)`` and, in training, ``(B, D + d)`` with what the auxiliary head sees."""
        num_views, num_parts = clips.shape[0], 1
        if isinstance(self.backbone, nn.Sequential):
            check_num_frames(clips, self.num_frames)
            num_parts = clips.shape[2] // self.num_frames
            clips = torch.cat(clips.chunk(num_parts, dim=2))
        low, high = self._maps(clips)
        features = [self.neck(low, high).mean(dim=(2, 3, 4))]
        if self.training and self.auxiliary is not None:
            features.append(self.auxiliary(low).mean(dim=(2, 3, 4)))
        return torch.cat(features, dim=1).view(num_parts, num_views, -1).mean(0)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``, or ``(B, D + d)`` -> ``(B, 2, K)``."""
        scores: Tensor = self.fc(features)
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def own_parts(self) -> list[nn.Module]:
        return [self.neck] if self.auxiliary is None else [self.neck, self.auxiliary]

    def key_rules(self) -> Mapping[str, KeyRules]:
        return self.rules

    def parts_by_depth(self) -> list[list[nn.Module]]:
        if isinstance(self.backbone, ResNet3d):
            stages = [[part] for part in self.backbone.parts_by_depth()]
        else:
            stages = [[self.backbone.get_submodule(name) for name in stage] for stage in resnet2d.STAGES]
        return [*stages, self.own_parts()]

    def _maps(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, T, H, W)`` -> ``(B, c, T, H / 16, W / 16)`` and ``(B, c', T, H / 32, W / 32)``."""
        if isinstance(self.backbone, ResNet3d):
            *steps, last = self.backbone.steps()
            for step in steps:
                clips = step(clips)
            return clips, last(clips)
        *parts, last_stage = self.backbone.children()
        frames = clips.transpose(1, 2).flatten(0, 1)
        for part in parts:
            frames = part(frames)
        low, high = (as_clips(maps, clips.shape[2]).transpose(1, 2) for maps in (frames, last_stage(frames)))
        return low, high


class TPNConfig(ModelConfig):
    """Settings of TPN; the number of input channels is the length of ``mean``."""

    kind: str = "tpn"
    backbone: Literal["tsm", "slowonly"] = "slowonly"
    """What the pyramid stands on: TSM's 2D ResNet, or SlowOnly's 3D one."""
    depth: Depth = 50
    """Layers of the backbone with weights."""
    num_frames: int = Field(8, gt=1)
    """TSM: how many frames are joined; views have as many, or a multiple, of which each part is on its own."""
    shift_div: int = Field(8, ge=2)
    """TSM: one part of so many of a frame's channels goes to the frame before, another to the one after."""
    width: int = Field(64, gt=0)
    """SlowOnly: channels of the stem; 64 in the published networks."""
    neck_width: int = Field(1024, gt=0, multiple_of=_GROUPS)
    """Channels of the pyramid's levels."""
    flow: Flow = "cascade"
    """Whether the way up begins with what came down (cascade), or with the levels as they were (parallel)."""
    auxiliary_weight: float = Field(0.5, ge=0)
    """Of the loss of a second head, on the lower level, that training has; 0 is none."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""
    pretrained: str | None = None
    """Weights of the backbone to start from: torchvision's of the 2D network of that depth, as IMAGENET1K_V1; a file or
    a URL; none is a random start."""
    inflation: Inflation = "mean"
    """SlowOnly: how the kernels of a 2D network reach over time."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.backbone == "tsm" and self.width != 64:
            raise ValueError(f"width: TSM's stem has 64 channels, got {self.width}; leave it out")
        if self.backbone == "slowonly" and self.width * 2**3 * resnet3d.STAGES[self.depth][0].expansion % _GROUPS:
            raise ValueError(f"width: the last stage has to be a multiple of {_GROUPS}, got {self.width}; try 64")
        try:
            self._source()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> TPN:
        if self.backbone == "tsm":
            backbone, channels, rules = self._frames()
        else:
            backbone, channels, rules = self._clips()
        model = TPN(
            backbone,
            channels,
            key_rules=rules,
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            num_frames=self.num_frames,
            width=self.neck_width,
            flow=self.flow,
            auxiliary_weight=self.auxiliary_weight,
            dropout=self.dropout,
        )
        load_pretrained(model, self._source(), self.inflation)
        return model

    def _frames(self) -> tuple[nn.Sequential | ResNet3d, tuple[int, int], dict[str, KeyRules]]:
        trunk, width = resnet2d.resnet2d(cast(ResNet2dName, f"resnet{self.depth}"), in_channels=len(self.mean))
        shift_frames(trunk, self.num_frames, self.shift_div)
        rules: dict[str, KeyRules] = {"MMAction2": MMACTION2_KEYS_2D, "torchvision": resnet2d.TORCHVISION_KEYS}
        return trunk, (width // 2, width), rules

    def _clips(self) -> tuple[nn.Sequential | ResNet3d, tuple[int, int], dict[str, KeyRules]]:
        backbone = slowonly_backbone(self.depth, in_channels=len(self.mean), width=self.width)
        rules = {"MMAction2": MMACTION2_KEYS_3D, "torchvision": resnet3d.rules_from_resnet2d("backbone")}
        return backbone, (backbone.channels[-2], backbone.channels[-1]), rules

    def _source(self) -> str | None:
        return source_for(self.pretrained, f"resnet{self.depth}")


def tpn_slowonly_r50(num_classes: int = 400) -> TPN:
    """91.5 M parameters, on 8 frames, 8 apart.

    Source: arXiv 2004.03548, table 1; MMAction2's tpn-slowonly_r50_8xb8-8x8x1-150e.
    """
    return TPNConfig(num_classes=num_classes).build()


def tpn_tsm_r50(num_classes: int = 174) -> TPN:
    """82.4 M parameters, on 8 frames of a video.

    Source: arXiv 2004.03548, table 5; MMAction2's tpn-tsm_imagenet-pretrained-r50_8xb8-1x1x8-150e.
    """
    return TPNConfig(num_classes=num_classes, backbone="tsm").build()


def _init_convolutions(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.xavier_uniform_(module.weight)
