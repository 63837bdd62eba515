"""UniFormerV2: CLIP's vision transformer on each frame, and a token of the video that asks its last blocks.

Source: arXiv 2211.09552. Numbers compared with UniFormerV2 and UniFormerHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.transformer import (
    INIT_STD,
    PatchEmbedding,
    QuickGELU,
    TransformerBlock,
    check_clip_size,
    depth_rates,
    fitted_positions,
    init_transformer,
)
from kinoray.models.layers.uniformerv2 import CLIP_EPS, TIME_KERNEL, Fusion, GlobalBlock, LocalBlock
from kinoray.models.pretrained import load_pretrained
from kinoray.models.weights import KeyRules

UNIFORMERV2_MEAN = (114.75, 114.75, 114.75)
UNIFORMERV2_STD = (57.375, 57.375, 57.375)

_FILES = "https://download.openmmlab.com/mmaction/v1.0/recognition/uniformerv2/clipVisualEncoder"
CLIP_FILES = {
    "ViT-B/16": f"{_FILES}/vit-base-p16-res224_clip-rgb_20221219-b8a5da86.pth",
    "ViT-L/14": f"{_FILES}/vit-large-p14-res224_clip-rgb_20221219-9de7543e.pth",
    "ViT-L/14_336": f"{_FILES}/vit-large-p14-res336_clip-rgb_20221219-d370f9e5.pth",
}
"""CLIP's name of a network -> its picture encoder alone, as MMAction2 publishes it."""

CLIP_KEYS: KeyRules = (
    (r"^visual\.", ""),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
"""Rules for ``rename_keys``, from CLIP's picture encoder, whole or cut out, to this module's state dict."""
MMACTION2_KEYS: KeyRules = (
    (r"^backbone\.", ""),
    (r"^cls_head\.fc_cls\.", "fc."),
    *CLIP_KEYS,
    (r"\.lmhra([12])\.pos_embed\.0\.", r".local\1.norm."),
    (r"\.lmhra([12])\.pos_embed\.1\.", r".local\1.narrow."),
    (r"\.lmhra([12])\.pos_embed\.2\.", r".local\1.over_time."),
    (r"\.lmhra([12])\.pos_embed\.3\.", r".local\1.widen."),
    (r"^transformer\.temporal_cls_token$", "video_token"),
    (r"^transformer\.dpe\.(\d+)\.", r"global_blocks.\1.position."),
    (r"^transformer\.dec\.", "global_blocks."),
    (r"\.ln_3\.", ".norm_asked."),
    (r"^transformer\.(norm\.|balance$)", r"fusion.\1"),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""


class UniFormerV2(Recognizer):
    """CLIP's vision transformer on the frames of a clip, of one size and number, with global blocks beside it.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        num_frames: T.
        crop: H and W, a multiple of ``patch``.
        patch: height and width of what becomes a token.
        width: D.
        depth: number of blocks.
        num_heads: parts of D that attend on their own.
        global_after: the numbers of the blocks, from 0, that a global block follows.
        num_local: local relations in each block, 0 to 2.
        local_reduction: see ``LocalRelation``.
        halves_time: whether three frames, two apart, become one before the first block.
        drop_path: share of the frames for which the last block's parts are left out in training; less before.
        global_drop_path: likewise of the videos, for the global blocks.
        global_dropout: share of the hidden features of the global blocks' MLPs dropped in training.
        dropout: share of the fused features dropped in training.
        head_rows: which row of another network's head scores each class, where that knows more of them.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        num_frames: int = 8,
        crop: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        global_after: Sequence[int] = (8, 9, 10, 11),
        num_local: Literal[0, 1, 2] = 0,
        local_reduction: float = 1.5,
        halves_time: bool = False,
        drop_path: float = 0.0,
        global_drop_path: float = 0.0,
        global_dropout: float = 0.5,
        dropout: float = 0.5,
        head_rows: Sequence[int] | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.size = (num_frames, crop, crop)
        self.global_after = tuple(global_after)
        self.head_rows = head_rows
        self.patch_embed = PatchEmbedding(
            len(mean),
            width,
            kernel=(TIME_KERNEL if halves_time else 1, patch, patch),
            stride=(2 if halves_time else 1, patch, patch),
            padding=(1 if halves_time else 0, 0, 0),
            bias=False,
        )
        self.cls_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.pos_embed = nn.Parameter(torch.randn(1 + (crop // patch) ** 2, width) * width**-0.5)
        self.video_token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm_pre = nn.LayerNorm(width, CLIP_EPS)
        self.blocks = nn.ModuleList(
            LocalBlock(width, num_heads, twice=num_local > 1, reduction=local_reduction, drop_path=rate)
            if num_local
            else TransformerBlock(width, num_heads, eps=CLIP_EPS, activation=QuickGELU, drop_path=rate)
            for rate in depth_rates(drop_path, depth)
        )
        init_transformer(self.blocks)
        self.global_blocks = nn.ModuleList(
            GlobalBlock(width, num_heads, drop_path=rate, dropout=global_dropout)
            for rate in depth_rates(global_drop_path, len(self.global_after))
        )
        self.fusion = Fusion(width)
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(width, num_classes, INIT_STD)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D)``.

        Raises:
            ConfigError: clips have another size.
        """
        check_clip_size(clips, self.size, "UniFormerV2")
        patches = self.patch_embed(clips)
        grid = (patches.shape[1], patches.shape[2], patches.shape[3])
        places = patches.flatten(0, 1).flatten(1, 2)
        frames = torch.cat([self.cls_token.expand(places.shape[0], 1, -1), places], dim=1)
        frames = self.norm_pre(frames + self.pos_embed)
        video = self.video_token.repeat(patches.shape[0], 1, 1)
        global_blocks = dict(zip(self.global_after, self.global_blocks, strict=True))
        for number, block in enumerate(self.blocks):
            frames = block(frames, grid) if isinstance(block, LocalBlock) else block(frames)
            if number in global_blocks:
                video = global_blocks[number](video, frames, grid)
        class_tokens = frames[:, 0].reshape(*patches.shape[:2], -1)
        features: Tensor = self.fusion(video[:, 0], class_tokens.mean(dim=1))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"CLIP": CLIP_KEYS, "MMAction2": MMACTION2_KEYS}

    def fit(self, name: str, value: Tensor) -> Tensor | None:
        if name == "pos_embed":
            return fitted_positions(value, self.pos_embed.shape)
        rows = self.head_rows
        if rows is not None and name in {"fc.weight", "fc.bias"} and max(rows) < len(value):
            return value[list(rows)]
        return None

    def parts_by_depth(self) -> list[list[nn.Module]]:
        global_blocks = dict(zip(self.global_after, self.global_blocks, strict=True))
        parts = [[block, *filter(None, [global_blocks.get(n)])] for n, block in enumerate(self.blocks)]
        parts[-1].append(self.fusion)
        return parts


class UniFormerV2Config(ModelConfig):
    """Settings of UniFormerV2; the number of input channels is the length of ``mean``."""

    kind: str = "uniformerv2"
    mean: tuple[float, ...] = Field(UNIFORMERV2_MEAN, min_length=1)
    std: tuple[PositiveFloat, ...] = UNIFORMERV2_STD
    num_frames: int = Field(8, gt=0)
    """T of the clips, as the data's clip_len."""
    crop: int = Field(224, gt=0)
    """Height and width of the clips, as the data's crop; a multiple of ``patch``."""
    patch: int = Field(16, gt=0)
    """Height and width of what becomes a token."""
    width: int = Field(768, gt=0)
    """Of the tokens, a multiple of ``num_heads``."""
    depth: int = Field(12, gt=0)
    """Number of blocks."""
    num_heads: int = Field(12, gt=0)
    """Parts of the width that attend on their own."""
    global_after: tuple[NonNegativeInt, ...] = (8, 9, 10, 11)
    """The numbers of the blocks, from 0, that a global block follows; the last four in the published networks."""
    num_local: Literal[0, 1, 2] = 0
    """Local relations over time in each block: none on Kinetics, two where movement tells more than what is seen."""
    local_reduction: float = Field(1.5, ge=1)
    """How many times fewer channels local relations have."""
    halves_time: bool = False
    """Whether three frames, two apart, become one before the first block."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Share of the frames for which the last block's parts are left out in training; less in those before."""
    global_drop_path: float = Field(0.0, ge=0, lt=1)
    """Likewise of the videos, for the global blocks."""
    global_dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the hidden features of the global blocks' MLPs dropped in training."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the fused features dropped in training."""
    pretrained: str | None = None
    """Weights to start from: CLIP's, as ViT-B/16, ViT-L/14 or ViT-L/14_336; a file or a URL; none is a random start."""
    head_rows: tuple[NonNegativeInt, ...] | None = None
    """Which row of a pretrained head scores each class, where that head knows more of them; none leaves a head of other
    classes fresh."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.crop % self.patch:
            raise ValueError(f"crop: not a multiple of patch {self.patch}, got {self.crop}; 224 is one of 14 and 16")
        if self.width % self.num_heads:
            raise ValueError(f"width: not a multiple of num_heads {self.num_heads}, got {self.width}; try 768 and 12")
        if list(self.global_after) != sorted(set(self.global_after)) or max(self.global_after, default=0) >= self.depth:
            raise ValueError(
                f"global_after: not rising numbers below depth {self.depth}, got {list(self.global_after)}; the last "
                "four blocks are usual"
            )
        if self.head_rows is not None and len(self.head_rows) != self.num_classes:
            raise ValueError(f"head_rows: not one for each of {self.num_classes} classes, got {len(self.head_rows)}")
        return self

    def build(self) -> UniFormerV2:
        model = UniFormerV2(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            num_frames=self.num_frames,
            crop=self.crop,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            global_after=self.global_after,
            num_local=self.num_local,
            local_reduction=self.local_reduction,
            halves_time=self.halves_time,
            drop_path=self.drop_path,
            global_drop_path=self.global_drop_path,
            global_dropout=self.global_dropout,
            dropout=self.dropout,
            head_rows=self.head_rows,
        )
        source = CLIP_FILES.get(self.pretrained, self.pretrained) if self.pretrained else None
        load_pretrained(model, source, "center")
        return model


def uniformerv2_base(num_classes: int = 400) -> UniFormerV2:
    """114.6 M parameters, on 8 frames of 224 x 224 spread over the video.

    Source: arXiv 2211.09552; MMAction2's uniformerv2-base-p16-res224_clip_8xb32-u8.
    """
    return UniFormerV2Config(num_classes=num_classes).build()


def uniformerv2_large(num_classes: int = 400, num_frames: int = 8, crop: int = 224) -> UniFormerV2:
    """354 M parameters, on 8, 16 or 32 frames of 224 x 224 or 336 x 336 spread over the video.

    Source: arXiv 2211.09552; MMAction2's uniformerv2-large-p14-res224 and -res336.
    """
    config = UniFormerV2Config(
        num_classes=num_classes,
        num_frames=num_frames,
        crop=crop,
        patch=14,
        width=1024,
        depth=24,
        num_heads=16,
        global_after=(20, 21, 22, 23),
    )
    return config.build()
