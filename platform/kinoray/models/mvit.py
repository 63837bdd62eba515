"""MViT v2: a transformer whose map shrinks and widens from stage to stage, by pooling inside its attention.

Source: arXiv 2112.01526; 2112.09133 (MaskFeat, whose fine-tuned network widens in its wide layers). Numbers compared
with MViT and MViTHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.pooled_attention import (
    NORM_EPS,
    PooledAttention,
    Pooling,
    Size3,
    pool_tokens,
    resized_distances,
)
from kinoray.models.layers.transformer import INIT_STD, MLP, PatchEmbedding, depth_rates, init_transformer
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

MVIT_MEAN = (114.75, 114.75, 114.75)
MVIT_STD = (57.375, 57.375, 57.375)

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"width": 96, "num_heads": 1, "num_blocks": 10, "stage_starts": (1, 3, 8)},
    "small": {"width": 96, "num_heads": 1, "num_blocks": 16, "stage_starts": (1, 3, 14)},
    "base": {"width": 96, "num_heads": 1, "num_blocks": 24, "stage_starts": (2, 5, 21)},
    "large": {"width": 144, "num_heads": 2, "num_blocks": 48, "stage_starts": (2, 8, 44)},
}
"""Settings of ``MViTConfig`` by the names that the paper and MMAction2 give them."""

MMACTION2_KEYS: KeyRules = (
    (r"^backbone\.patch_embed\.projection\.", "backbone.patch_embed.proj."),
    (r"^backbone\.norm3\.", "backbone.norm."),
    (r"^cls_head\.fc_cls\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints, and MMSelfSup's of MaskFeat, to this module's state dict."""

TORCHVISION_KEYS: KeyRules = (
    (r"^conv_proj\.", "backbone.patch_embed.proj."),
    (r"^pos_encoding\.class_token$", "backbone.cls_token"),
    (r"^(blocks\.\d+)\.project\.", r"\1.proj."),
    (r"^(blocks|norm)\.", r"backbone.\1."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"\.attn\.project\.0\.", ".attn.proj."),
    (r"\.attn\.pool_([qkv])\.norm_act\.0\.", r".attn.norm_\1."),
    (r"\.attn\.pool_([qkv])\.pool\.", r".attn.pool_\1."),
    (r"^head\.1\.", "fc."),
)
"""Rules for ``rename_keys``, from torchvision's mvit_v2_s."""

_PATCH_STRIDE = (2, 4, 4)
# Keys are pooled to the size that they keep from here on, however large the map still is.
_FIRST_KEY_STRIDE = (1, 8, 8)
_MLP_RATIO = 4


class Variant(NamedTuple):
    """In what published networks of one size differ.

    Attributes:
        widen_in: what doubles D: the first attention of a stage, or the last MLP of the stage before it.
        class_token: whether there is one.
        residual_pooling: whether attentions add their pooled queries to what these gather.
    """

    widen_in: Literal["attention", "mlp"] = "attention"
    class_token: bool = True
    residual_pooling: bool = True


class MViTBlock(nn.Module):
    """Pooled attention and an MLP, each beside a shortcut.

    Args:
        in_width: D of the input.
        width: D of the output.
        num_heads: of the attention.
        pooling: sizes and strides of the attention.
        variant: see ``Variant``.
        drop_path: share of the rows for which attention is left out in training, and of those without the MLP.
    """

    def __init__(
        self, in_width: int, width: int, num_heads: int, pooling: Pooling, *, variant: Variant, drop_path: float
    ) -> None:
        super().__init__()
        self.widens_in_attention = variant.widen_in == "attention"
        self.num_extra = int(variant.class_token)
        middle = width if self.widens_in_attention else in_width
        self.norm1 = nn.LayerNorm(in_width, NORM_EPS)
        self.attn = PooledAttention(
            in_width,
            middle,
            num_heads,
            pooling,
            num_extra=self.num_extra,
            residual=variant.residual_pooling,
        )
        self.norm2 = nn.LayerNorm(middle, NORM_EPS)
        self.mlp = MLP(middle, _MLP_RATIO * middle, out_width=width)
        self.proj = nn.Linear(in_width, width) if in_width != width else None
        self.pool_skip = _skip_pool(pooling.query_stride)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: Tensor, size: Size3) -> tuple[Tensor, Size3]:
        """``(B, L, in_width)`` of a map of that size -> ``(B, L', width)`` and the size of the pooled map."""
        normed = self.norm1(tokens)
        gathered, new_size = self.attn(normed, size)
        skip = self.proj(normed) if self.proj is not None and self.widens_in_attention else tokens
        if self.pool_skip is not None:
            skip = pool_tokens(skip[:, None], size, self.pool_skip, self.num_extra)[0][:, 0]
        tokens = skip + self.drop_path(gathered)
        normed = self.norm2(tokens)
        skip = tokens if self.proj is None or self.widens_in_attention else self.proj(normed)
        return skip + self.drop_path(self.mlp(normed)), new_size


def _skip_pool(stride: Size3) -> nn.MaxPool3d | None:
    if stride == (1, 1, 1):
        return None
    t, h, w = (step + 1 if step > 1 else 1 for step in stride)
    return nn.MaxPool3d((t, h, w), stride, (t // 2, h // 2, w // 2))


class MViTBackbone(nn.Module):
    """Overlapping patches, a class token, and blocks in stages: from each to the next H and W halve and D doubles.

    Args:
        in_channels: C.
        size: T, H, W of the clips that positions are learned for; others will do, positions are interpolated then.
        width: D of the first stage.
        num_heads: of the first stage; each later stage has twice as many.
        num_blocks: of all stages.
        stage_starts: the first block of every stage but the first.
        variant: see ``Variant``.
        drop_path: see ``MViTBlock``, of the last block; less in those before.

    Attributes:
        out_width: D of the last stage.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        size: Size3,
        width: int,
        num_heads: int,
        num_blocks: int,
        stage_starts: Sequence[int],
        variant: Variant,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, width, kernel=(3, 7, 7), stride=_PATCH_STRIDE, padding=(1, 3, 3))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if variant.class_token else None
        t, h, w = ((side - 1) // stride + 1 for side, stride in zip(size, _PATCH_STRIDE, strict=True))
        pooling = Pooling((t, h, w), (1, 1, 1), _FIRST_KEY_STRIDE)
        self.blocks = nn.ModuleList()
        for number, rate in enumerate(depth_rates(drop_path, num_blocks)):
            starts = number in stage_starts
            doubles = (number if variant.widen_in == "attention" else number + 1) in stage_starts
            num_heads *= 2 if starts else 1
            pooling = pooling.of_next_stage() if starts else pooling._replace(query_stride=(1, 1, 1))
            out_width = 2 * width if doubles else width
            self.blocks.append(MViTBlock(width, out_width, num_heads, pooling, variant=variant, drop_path=rate))
            width, pooling = out_width, pooling._replace(size=pooling.size_after())
        self.out_width = width
        self.norm = nn.LayerNorm(width, NORM_EPS)
        self._init_weights()

    def _init_weights(self) -> None:
        init_transformer(self)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=INIT_STD)
        for convolution in (module for module in self.modules() if isinstance(module, nn.Conv3d)):
            nn.init.trunc_normal_(convolution.weight, std=INIT_STD)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, L, D)``; the class token comes first."""
        patches = self.patch_embed(clips)
        _, t, h, w, _ = patches.shape
        tokens, size = patches.flatten(1, 3), (t, h, w)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(clips.shape[0], -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens, size = block(tokens, size)
        normed: Tensor = self.norm(tokens)
        return normed


class MViT(Recognizer):
    """MViT's backbone, its class token or the mean of the others, and a linear classifier.

    Args:
        backbone: see ``MViTBackbone``.
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        pooling: what is scored.
        dropout: share of its features dropped in training.
        head_scale: times the classifier's weights at the start.
    """

    def __init__(
        self,
        backbone: MViTBackbone,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        pooling: Literal["class_token", "mean"] = "class_token",
        dropout: float = 0.5,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.backbone = backbone
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(backbone.out_width, num_classes, INIT_STD * head_scale)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, L, D)``; the class token comes first."""
        tokens: Tensor = self.backbone(clips)
        return tokens

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, L, D)`` -> ``(B, K)``."""
        num_extra = 0 if self.backbone.cls_token is None else 1
        scored = features[:, 0] if self.pooling == "class_token" else features[:, num_extra:].mean(dim=1)
        scores: Tensor = self.fc(self.dropout(scored))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        # The reference keeps a class token where it uses none.
        unused: KeyRules = () if self.backbone.cls_token is not None else ((r"^backbone\.cls_token$", ()),)
        return {"MMAction2": (*MMACTION2_KEYS, *unused), "torchvision": TORCHVISION_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        *blocks, last = self.backbone.blocks
        return [*([block] for block in blocks), [last, self.backbone.norm]]

    def fit(self, name: str, value: Tensor) -> Tensor | None:
        """Positions of clips or pictures of another size are interpolated; a class token may have fewer dimensions."""
        wanted = self.get_parameter(name).shape
        if value.shape[-1:] != wanted[-1:]:
            return None
        if name == "backbone.cls_token":
            return value.reshape(wanted)
        is_table = ".rel_pos_" in name and value.ndim == 2
        return resized_distances(value, wanted[0]) if is_table else None


class MViTConfig(ModelConfig):
    """Settings of MViT v2, those of the published networks in ``SIZES``; ``mean`` has a number for each channel."""

    kind: str = "mvit"
    mean: tuple[float, ...] = Field(MVIT_MEAN, min_length=1)
    std: tuple[PositiveFloat, ...] = MVIT_STD
    num_frames: int = Field(16, gt=0)
    """T of the clips that positions are learned for; others will do, positions are interpolated then."""
    crop: int = Field(224, gt=0)
    """H and W of these clips, in pixels."""
    width: PositiveInt = 96
    """D of the first stage, doubled from each to the next."""
    num_heads: PositiveInt = 1
    """Parts of D that attend on their own in the first stage, doubled from each to the next."""
    num_blocks: PositiveInt = 16
    """Of all stages."""
    stage_starts: tuple[PositiveInt, ...] = (1, 3, 14)
    """The first block of every stage but the first, counted from 0."""
    widen_in: Literal["attention", "mlp"] = "attention"
    """What doubles D: the first attention of a stage, or the last MLP of the stage before it, as in MaskFeat."""
    class_token: bool = True
    """Whether a token that is no part of the clip attends with the others."""
    residual_pooling: bool = True
    """Whether attentions add their pooled queries to what these gather."""
    pooling: Literal["class_token", "mean"] = "class_token"
    """What is scored: the class token, or the mean of the others."""
    drop_path: float = Field(0.2, ge=0, lt=1)
    """Share of the clips for which the last block's parts are left out in training; less in those before."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the scored features dropped in training."""
    head_scale: PositiveFloat = 1.0
    """Times the classifier's weights at the start."""
    pretrained: str | None = None
    """Weights to start from: a file or a URL, or KINETICS400_V1, torchvision's of the small network; none is a random
    start."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads, got {self.num_heads} with width {self.width}; it should divide it")
        if (
            list(self.stage_starts) != sorted({*self.stage_starts})
            or max(self.stage_starts, default=0) >= self.num_blocks
        ):
            raise ValueError(
                f"stage_starts, got {list(self.stage_starts)} with {self.num_blocks} blocks; it should rise, and stay "
                "below their number"
            )
        if self.pooling == "class_token" and not self.class_token:
            raise ValueError("pooling, got class_token without one; it should be mean, or class_token: true")
        try:
            self.source()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def source(self) -> str | None:
        """Where ``pretrained`` lies, see ``load_pretrained``.

        Raises:
            ConfigError: torchvision has no such weights.
        """
        return source_for(self.pretrained, "mvit_v2_s")

    def build(self) -> MViT:
        backbone = MViTBackbone(
            in_channels=len(self.mean),
            size=(self.num_frames, self.crop, self.crop),
            width=self.width,
            num_heads=self.num_heads,
            num_blocks=self.num_blocks,
            stage_starts=self.stage_starts,
            variant=Variant(self.widen_in, self.class_token, self.residual_pooling),
            drop_path=self.drop_path,
        )
        model = MViT(
            backbone,
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            pooling=self.pooling,
            dropout=self.dropout,
            head_scale=self.head_scale,
        )
        load_pretrained(model, self.source())
        return model


def mvit_small(num_classes: int = 400) -> MViT:
    """34.5 M parameters; trained on 16 frames, 4 apart, of 224 x 224.

    Source: arXiv 2112.01526, table 8; MMAction2's mvit-small-p244_32xb16-16x4x1-200e.
    """
    return MViTConfig(num_classes=num_classes).build()


def mvit_base(num_classes: int = 400) -> MViT:
    """51.2 M parameters; trained on 32 frames, 3 apart, of 224 x 224.

    Source: arXiv 2112.01526, table 8; MMAction2's mvit-base-p244_32x3x1.
    """
    return MViTConfig(num_classes=num_classes, num_frames=32, **SIZES["base"]).build()


def mvit_large(num_classes: int = 400) -> MViT:
    """213.4 M parameters; trained on 40 frames, 3 apart, of 312 x 312.

    Source: arXiv 2112.01526, table 8; MMAction2's mvit-large-p244_40x3x1.
    """
    return MViTConfig(num_classes=num_classes, num_frames=40, crop=312, **SIZES["large"]).build()
