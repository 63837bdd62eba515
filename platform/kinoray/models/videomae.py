"""VideoMAE: a plain vision transformer on tubelets of a clip, trained first to paint what is masked.

Source: arXiv 2203.12602, 2303.16727 (V2, the same network). Numbers compared with VisionTransformer and
TimeSformerHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.transformer import (
    INIT_STD,
    VIT_KEYS,
    PatchEmbedding,
    TransformerBlock,
    check_clip_size,
    depth_rates,
    init_transformer,
    resized_positions,
    sinusoids,
)
from kinoray.models.pretrained import load_pretrained
from kinoray.models.weights import KeyRules

Positions = Literal["sinusoids", "learned"]
Pooling = Literal["mean", "first"]

# A table of sinusoids is not learned; files hold it all the same.
_WITHOUT_TABLE: KeyRules = ((r"^pos_embed$", ()),)
_SCALES: KeyRules = ((r"\.gamma_([12])$", r".scale\1.gamma"),)
MMACTION2_KEYS: KeyRules = (
    (r"^backbone\.", ""),
    (r"^fc_norm\.", "norm."),
    (r"^cls_head\.fc_cls\.", "fc."),
    *VIT_KEYS,
    *_SCALES,
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""
VIDEOMAE_KEYS: KeyRules = (
    (r"^encoder\.norm\.", "encoder_norm."),  # of all tokens; the classifier's is that of their mean
    (r"^encoder\.", ""),
    (r"^fc_norm\.", "norm."),
    (r"^head\.", "fc."),
    *_SCALES,
)
"""Rules for ``rename_keys``, from the authors' pretrained (``encoder.``) and fine-tuned checkpoints."""


class VideoMAE(Recognizer):
    """The encoder of VideoMAE, the mean over its tokens, and a classifier.

    Clips have one number of frames; their height and width may differ from ``crop``, and positions are resized then.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        num_frames: T, a multiple of ``tubelet``.
        crop: H and W that positions are made for, a multiple of ``patch``.
        patch: height and width of what becomes a token.
        tubelet: its frames.
        width: D.
        depth: number of blocks.
        num_heads: parts of D that attend on their own.
        mlp_ratio: how many times wider a block's MLP is inside.
        qkv_bias: whether queries and values have a bias; keys have none.
        positions: fixed, or learned.
        pooling: of the last tokens: their mean, or the first one alone.
        layer_scale: what the factors of each block's branches start from; 0 is without them.
        drop_path: share of the rows for which the last block's parts are left out in training; less in those before.
        dropout: share of the pooled features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        num_frames: int = 16,
        crop: int = 224,
        patch: int = 16,
        tubelet: int = 2,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        positions: Positions = "sinusoids",
        pooling: Pooling = "mean",
        layer_scale: float = 0.0,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.num_frames = num_frames
        self.positions = positions
        self.pooling = pooling
        self.grid = (crop // patch, crop // patch)
        self.patch_embed = PatchEmbedding(len(mean), width, kernel=(tubelet, patch, patch))
        num_tokens = num_frames // tubelet * self.grid[0] * self.grid[1]
        self.pos_embed: Tensor
        if positions == "learned":
            self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, num_tokens, width), std=INIT_STD))
        else:
            self.register_buffer("pos_embed", sinusoids(num_tokens, width).unsqueeze(0), persistent=False)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                num_heads,
                mlp_ratio=mlp_ratio,
                bias="no_keys" if qkv_bias else "none",
                drop_path=rate,
                layer_scale=layer_scale,
            )
            for rate in depth_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(width, num_classes, INIT_STD)
        init_transformer(self.blocks)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D)``.

        Raises:
            ConfigError: clips have another number of frames.
        """
        check_clip_size(clips, (self.num_frames, *clips.shape[3:]), "VideoMAE")
        patches = self.patch_embed(clips)
        grid = (patches.shape[2], patches.shape[3])
        tokens = patches.flatten(1, 3) + resized_positions(self.pos_embed, self.grid, grid)
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens.mean(dim=1) if self.pooling == "mean" else tokens[:, 0])
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        table = _WITHOUT_TABLE if self.positions == "sinusoids" else ()
        return {"MMAction2": (*MMACTION2_KEYS, *table), "VideoMAE": (*VIDEOMAE_KEYS, *table)}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        *first, last = self.blocks
        return [*([block] for block in first), [last, self.norm]]


class VideoMAEConfig(ModelConfig):
    """Settings of VideoMAE's classifier; the number of input channels is the length of ``mean``."""

    kind: str = "videomae"
    num_frames: int = Field(16, gt=0)
    """T of the clips, as the data's clip_len; a multiple of ``tubelet``."""
    crop: int = Field(224, gt=0)
    """Height and width that positions are made for, a multiple of ``patch``; for clips of others they are resized."""
    patch: int = Field(16, gt=0)
    """Height and width of what becomes a token."""
    tubelet: int = Field(2, gt=0)
    """Frames of what becomes a token."""
    width: int = Field(768, gt=0)
    """Of the tokens, a multiple of ``num_heads``."""
    depth: int = Field(12, gt=0)
    """Number of blocks."""
    num_heads: int = Field(12, gt=0)
    """Parts of the width that attend on their own."""
    mlp_ratio: float = Field(4.0, gt=0)
    """How many times wider a block's MLP is inside."""
    qkv_bias: bool = True
    """Whether queries and values have a bias; keys have none."""
    positions: Positions = "sinusoids"
    """Sinusoids, which are fixed, or learned."""
    pooling: Pooling = "mean"
    """Of the last tokens: their mean, or the first one alone."""
    layer_scale: float = Field(0.0, ge=0)
    """What the factors of each block's branches start from; 0 is without them."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Share of the rows for which the last block's parts are left out in training; less in those before."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the pooled features dropped in training."""
    pretrained: str | None = None
    """Weights to start from: a file or a URL, of a pretrained encoder or a fine-tuned network; none is a random
    start."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.crop % self.patch:
            raise ValueError(f"crop: not a multiple of patch {self.patch}, got {self.crop}; 224 is one of 16")
        if self.num_frames % self.tubelet:
            raise ValueError(f"num_frames: not a multiple of tubelet {self.tubelet}, got {self.num_frames}")
        if self.width % self.num_heads:
            raise ValueError(f"width: not a multiple of num_heads {self.num_heads}, got {self.width}; try 768 and 12")
        return self

    def build(self) -> VideoMAE:
        model = VideoMAE(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            num_frames=self.num_frames,
            crop=self.crop,
            patch=self.patch,
            tubelet=self.tubelet,
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_ratio=self.mlp_ratio,
            qkv_bias=self.qkv_bias,
            positions=self.positions,
            pooling=self.pooling,
            layer_scale=self.layer_scale,
            drop_path=self.drop_path,
            dropout=self.dropout,
        )
        load_pretrained(model, self.pretrained)
        return model


def videomae_small(num_classes: int = 400) -> VideoMAE:
    """22.0 M parameters, on 16 frames of 224 x 224, 4 apart.

    Source: arXiv 2303.16727; MMAction2's vit-small-p16_videomaev2-vit-g-dist-k710-pre_16x4x1.
    """
    return VideoMAEConfig(num_classes=num_classes, width=384, num_heads=6).build()


def videomae_base(num_classes: int = 400) -> VideoMAE:
    """86.5 M parameters, on 16 frames of 224 x 224, 4 apart.

    Source: arXiv 2203.12602, table 12; MMAction2's vit-base-p16_videomae-k400-pre_16x4x1.
    """
    return VideoMAEConfig(num_classes=num_classes).build()


def videomae_large(num_classes: int = 400) -> VideoMAE:
    """304.2 M parameters, on 16 frames of 224 x 224, 4 apart.

    Source: arXiv 2203.12602; MMAction2's vit-large-p16_videomae-k400-pre_16x4x1.
    """
    return VideoMAEConfig(num_classes=num_classes, width=1024, depth=24, num_heads=16).build()
