"""TimeSformer: a vision transformer whose tokens see their place in other frames, then the places of their own frame.

Source: arXiv 2102.05095. Numbers compared with TimeSformer and TimeSformerHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import StochasticDepth

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.attention import SelfAttention
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.transformer import (
    INIT_STD,
    MLP,
    TORCHVISION_VIT_KEYS,
    VIT_KEYS,
    FrameEmbedding,
    TransformerBlock,
    check_clip_size,
    depth_rates,
    fitted_positions,
    init_transformer,
)
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

TimeAttention = Literal["divided", "joint", "space_only"]

TIMESFORMER_MEAN = (127.5, 127.5, 127.5)
TIMESFORMER_STD = (127.5, 127.5, 127.5)

_DIVIDED_KEYS: KeyRules = (
    (r"^(transformer_layers\.layers\.\d+)\.attentions\.0\.temporal_fc\.", r"\1.time_fc."),
    (r"^(transformer_layers\.layers\.\d+)\.attentions\.0\.norm\.", r"\1.time_norm."),
    (r"^(transformer_layers\.layers\.\d+)\.attentions\.0\.attn\.", r"\1.time_attn."),
    (r"^(transformer_layers\.layers\.\d+)\.attentions\.1\.norm\.", r"\1.norm1."),
    (r"^(transformer_layers\.layers\.\d+)\.attentions\.1\.attn\.", r"\1.attn."),
    (r"^(transformer_layers\.layers\.\d+)\.ffns\.0\.norm\.", r"\1.norm2."),
    (r"\.time_attn\.in_proj_(weight|bias)$", r".time_attn.qkv.\1"),
    (r"\.time_attn\.out_proj\.", ".time_attn.proj."),
)
_OUTER_KEYS: KeyRules = ((r"^backbone\.", ""), (r"^cls_head\.fc_cls\.", "fc."))
MMACTION2_DIVIDED_KEYS: KeyRules = (*_OUTER_KEYS, *_DIVIDED_KEYS, *VIT_KEYS)
"""Rules for ``rename_keys``, from MMAction2's checkpoints with divided attention to this module's state dict."""
MMACTION2_KEYS: KeyRules = (*_OUTER_KEYS, *VIT_KEYS)
"""Likewise of joint attention and of space only, where the first attention of a block is not over time."""

# A picture's attention starts both of a divided block.
_TWICE: KeyRules = (
    (r"^(blocks\.\d+)\.attn\.", (r"\1.attn.", r"\1.time_attn.")),
    (r"^(blocks\.\d+)\.norm1\.", (r"\1.norm1.", r"\1.time_norm.")),
)


class DividedBlock(nn.Module):
    """Attention over time at each place, attention over places in each frame, and an MLP.

    Frames have a copy each of the class token; what they make of it is averaged.

    Args:
        width: D.
        num_heads: see ``SelfAttention``.
        drop_path: share of the rows for which a part is left out in training.
    """

    def __init__(self, width: int, num_heads: int, *, drop_path: float) -> None:
        super().__init__()
        self.time_norm = nn.LayerNorm(width, eps=1e-6)
        self.time_attn = SelfAttention(width, num_heads)
        self.time_fc = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: Tensor, num_frames: int) -> Tensor:
        """``(B, 1 + T * P, D)``, a class token and P places in each of T frames -> the same shape."""
        batch, _, width = tokens.shape
        class_token, patches = tokens[:, :1], tokens[:, 1:].reshape(batch, num_frames, -1, width)
        places = patches.transpose(1, 2)
        over_time = self.drop_path(self.time_attn(self.time_norm(places.flatten(0, 1))))
        places = places + self.time_fc(over_time).reshape(places.shape)
        patches = places.transpose(1, 2)

        class_tokens = class_token.unsqueeze(1).expand(-1, num_frames, -1, -1)
        frames = torch.cat([class_tokens, patches], dim=2)
        in_frame = self.drop_path(self.attn(self.norm1(frames.flatten(0, 1)))).reshape(frames.shape)
        class_token = class_token + in_frame[:, :, :1].mean(dim=1)
        patches = patches + in_frame[:, :, 1:]

        tokens = torch.cat([class_token, patches.flatten(1, 2)], dim=1)
        changes: Tensor = self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens + changes


class TimeSformer(Recognizer):
    """A vision transformer on the frames of a clip, of one size and number.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        attention: over time and over places in turn (``divided``), over all tokens of the clip (``joint``), or within
            each frame, whose results are averaged (``space_only``).
        num_frames: T.
        crop: H and W, a multiple of ``patch``.
        patch: height and width of what becomes a token.
        width: D.
        depth: number of blocks.
        num_heads: parts of D that attend on their own.
        drop_path: share of the rows for which the last block's parts are left out in training; less in those before.
        dropout: share of the class token's features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        attention: TimeAttention = "divided",
        num_frames: int = 8,
        crop: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.attention = attention
        self.size = (num_frames, crop, crop)
        self.patch_embed = FrameEmbedding(len(mean), width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (crop // patch) ** 2, width))
        self.time_embed = nn.Parameter(torch.zeros(1, num_frames, width)) if attention != "space_only" else None
        self.blocks = nn.ModuleList(
            DividedBlock(width, num_heads, drop_path=rate)
            if attention == "divided"
            else TransformerBlock(width, num_heads, drop_path=rate)
            for rate in depth_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(width, num_classes, INIT_STD)
        self._init_weights()

    def _init_weights(self) -> None:
        """As pictures' transformers do; divided blocks start as if there were no attention over time."""
        init_transformer(self.blocks)
        nn.init.trunc_normal_(self.cls_token, std=INIT_STD)
        nn.init.trunc_normal_(self.pos_embed, std=INIT_STD)
        for block in self.blocks:
            if isinstance(block, DividedBlock):
                nn.init.zeros_(block.time_fc.weight)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D)``, the class token.

        Raises:
            ConfigError: clips have another size.
        """
        check_clip_size(clips, self.size, "TimeSformer")
        num_frames = clips.shape[2]
        patches = self.patch_embed(clips) + self.pos_embed[:, 1:]
        if self.time_embed is None:
            patches = patches.flatten(0, 1)
        else:
            patches = (patches + self.time_embed.unsqueeze(2)).flatten(1, 2)
        class_token = (self.cls_token + self.pos_embed[:, :1]).expand(patches.shape[0], -1, -1)
        tokens = torch.cat([class_token, patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens, num_frames) if isinstance(block, DividedBlock) else block(tokens)
        class_token = tokens[:, 0]
        if self.time_embed is None:
            class_token = class_token.reshape(clips.shape[0], num_frames, -1).mean(dim=1)
        features: Tensor = self.norm(class_token)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        """MMAction2's, and those of vision transformers for pictures: timm's, MMCV's and torchvision's."""
        is_divided = self.attention == "divided"
        twice = _TWICE if is_divided else ()
        return {
            "MMAction2": MMACTION2_DIVIDED_KEYS if is_divided else MMACTION2_KEYS,
            "timm": twice,
            "MMCV": (*VIT_KEYS, *twice),
            "torchvision": (*TORCHVISION_VIT_KEYS, *twice),
        }

    def fit(self, name: str, value: Tensor) -> Tensor | None:
        """Positions are resized; other frames get the position of the nearest in time, as in the authors' code."""
        if name == "pos_embed":
            return fitted_positions(value, self.pos_embed.shape)
        if name == "time_embed" and value.ndim == 3:
            return interpolate(value.transpose(1, 2), size=self.size[0], mode="nearest").transpose(1, 2)
        return None

    def parts_by_depth(self) -> list[list[nn.Module]]:
        *first, last = self.blocks
        return [*([block] for block in first), [last, self.norm]]


class TimeSformerConfig(ModelConfig):
    """Settings of TimeSformer; the number of input channels is the length of ``mean``."""

    kind: str = "timesformer"
    mean: tuple[float, ...] = Field(TIMESFORMER_MEAN, min_length=1)
    std: tuple[PositiveFloat, ...] = TIMESFORMER_STD
    attention: TimeAttention = "divided"
    """Over time and over places in turn (divided), over all tokens of a clip (joint), or in each frame (space_only)."""
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
    drop_path: float = Field(0.1, ge=0, lt=1)
    """Share of the rows for which the last block's parts are left out in training; less in those before."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the class token's features dropped in training."""
    pretrained: str | None = None
    """Weights to start from: torchvision's of its ViT-B/16, as IMAGENET1K_V1; a file or a URL of a vision transformer,
    in its names, timm's or MMCV's; none is a random start."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.crop % self.patch:
            raise ValueError(f"crop: not a multiple of patch {self.patch}, got {self.crop}; 224 is one of 16")
        if self.width % self.num_heads:
            raise ValueError(f"width: not a multiple of num_heads {self.num_heads}, got {self.width}; try 768 and 12")
        try:
            self._source()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> TimeSformer:
        model = TimeSformer(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            attention=self.attention,
            num_frames=self.num_frames,
            crop=self.crop,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            drop_path=self.drop_path,
            dropout=self.dropout,
        )
        load_pretrained(model, self._source())
        return model

    def _source(self) -> str | None:
        return source_for(self.pretrained, "vit_b_16")


def timesformer_divided(num_classes: int = 400) -> TimeSformer:
    """121.6 M parameters, on 8 frames of 224 x 224, 32 apart.

    Source: arXiv 2102.05095, table 4; MMAction2's timesformer_divST_8xb8-8x32x1-15e.
    """
    return TimeSformerConfig(num_classes=num_classes).build()


def timesformer_joint(num_classes: int = 400) -> TimeSformer:
    """86.1 M parameters, on 8 frames of 224 x 224, 32 apart.

    Source: arXiv 2102.05095, table 1; MMAction2's timesformer_jointST_8xb8-8x32x1-15e.
    """
    return TimeSformerConfig(num_classes=num_classes, attention="joint").build()


def timesformer_space_only(num_classes: int = 400) -> TimeSformer:
    """86.1 M parameters, on 8 frames of 224 x 224, 32 apart, each on its own.

    Source: arXiv 2102.05095, table 1; MMAction2's timesformer_spaceOnly_8xb8-8x32x1-15e.
    """
    return TimeSformerConfig(num_classes=num_classes, attention="space_only").build()
