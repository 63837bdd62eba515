"""TRN: a 2D network on frames of a video, and perceptrons that see the features of some of them in order.

Source: arXiv 1711.08496. Numbers compared with TRNHead of MMAction2 at 4d6c934, for the same sets of frames: it draws
them at random in evaluation too, where we take the mean over all, which is what its draws scatter around.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.tsn import TSN, FramesConfig

Relations = Literal["all", "multi_scale"]

MMACTION2_KEYS = (
    (r"^cls_head\.fc_cls\.", "fc.embed."),
    (r"^cls_head\.consensus\.fc_fusion_scales\.", "fc.relations."),
    (r"^cls_head\.consensus\.classifier\.", "fc.relations.0."),
)
"""Rules from MMAction2's names, before those of the 2D network."""

_NUM_DRAWN = 3
_HIDDEN_WIDTH = {"all": 512, "multi_scale": 256}


class RelationHead(nn.Module):
    """Scores from ordered sets of frames: of all frames and, in ``multi_scale``, of some of each smaller size from 2.

    Of each smaller size three sets are drawn in training; in evaluation all are scored, their sum as if they were
    three.

    Args:
        width: D.
        num_classes: K.
        num_frames: T.
        relations: which sets.
        embed_width: of a frame, in a set.
        dropout: share of the features dropped in training.
        init_std: of the first weights of the embedding.

    Attributes:
        subsets: for each size, from T downwards, the sets that evaluation scores; those of all frames come first.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        num_frames: int,
        relations: Relations = "multi_scale",
        embed_width: int = 256,
        dropout: float = 0.8,
        init_std: float = 0.001,
    ) -> None:
        super().__init__()
        sizes = range(num_frames, 1, -1) if relations == "multi_scale" else [num_frames]
        hidden_width = _HIDDEN_WIDTH[relations]
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(width, embed_width)
        nn.init.normal_(self.embed.weight, std=init_std)
        nn.init.zeros_(self.embed.bias)
        self.relations = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(), nn.Linear(size * embed_width, hidden_width), nn.ReLU(), nn.Linear(hidden_width, num_classes)
            )
            for size in sizes
        )
        self.subsets = [list(combinations(range(num_frames), size)) for size in sizes]

    def forward(self, features: Tensor) -> Tensor:
        """``(B, T, D)`` -> ``(B, K)``."""
        embedded = self.embed(self.dropout(features))
        scores: Tensor = torch.zeros((), device=features.device, dtype=embedded.dtype)
        for relation, subsets in zip(self.relations, self.subsets, strict=True):
            num_summed = min(_NUM_DRAWN, len(subsets))
            places = torch.tensor(subsets)
            if self.training:
                places = places[torch.randperm(len(subsets))[:num_summed]]
            seen = embedded[:, places.to(features.device)]
            scores = scores + num_summed * relation(seen.flatten(2)).mean(dim=1)
        return scores


class TRN(TSN):
    """TSN whose head relates frames instead of averaging them.

    Args:
        num_classes: K.
        mean: see ``TSN``.
        std: see ``TSN``.
        backbone: which 2D network.
        num_frames: T of every view.
        relations: see ``RelationHead``.
        embed_width: see ``RelationHead``.
        dropout: share of the features dropped in training.
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
        relations: Relations = "multi_scale",
        embed_width: int = 256,
        dropout: float = 0.8,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std, backbone=backbone)
        self.num_frames = num_frames
        self.fc: RelationHead = RelationHead(
            self.width,
            num_classes,
            num_frames=num_frames,
            relations=relations,
            embed_width=embed_width,
            dropout=dropout,
        )

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T, H / 32, W / 32)``; every frame is seen on its own."""
        if clips.shape[2] != self.num_frames:
            raise ConfigError(
                f"model.num_frames: {self.num_frames} frames are related, got views of {clips.shape[2]}; give the "
                "model's num_frames and the sampling the same number"
            )
        return super().forward_features(clips)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, T, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(features.mean(dim=(3, 4)).mT)
        return scores


class TRNConfig(FramesConfig):
    """Settings of TRN."""

    kind: str = "trn"
    num_frames: int = Field(8, gt=1)
    """T of every view."""
    relations: Relations = "multi_scale"
    """Whether frames are related all at once, or in smaller sets too."""
    embed_width: int = Field(256, gt=0)
    """Width of a frame's features when it is related to others."""
    dropout: float = Field(0.8, ge=0, lt=1)
    """Share of every frame's features dropped in training."""

    def build(self) -> TRN:
        model = TRN(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            backbone=self.backbone,
            num_frames=self.num_frames,
            relations=self.relations,
            embed_width=self.embed_width,
            dropout=self.dropout,
        )
        return self.finish(model)


def trn_r50(num_classes: int = 174) -> TRN:
    """26.6 M parameters, on 8 frames of a video.

    Source: arXiv 1711.08496, section 3; MMAction2's trn_imagenet-pretrained-r50_8xb16-1x1x8-50e.
    """
    return TRNConfig(num_classes=num_classes).build()
