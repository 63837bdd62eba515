"""UniFormer: near the input convolutions gather from a place's neighbours, deeper attention gathers from everywhere.

Source: arXiv 2201.04676. Numbers compared with UniFormer and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.normed_patches import NormedPatches
from kinoray.models.layers.transformer import INIT_STD, TransformerBlock, depth_rates, init_transformer
from kinoray.models.pretrained import load_pretrained
from kinoray.models.weights import KeyRules

UNIFORMER_MEAN = (114.75, 114.75, 114.75)
UNIFORMER_STD = (57.375, 57.375, 57.375)

SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {"num_blocks": (3, 4, 8, 3)},
    "base": {"num_blocks": (5, 8, 20, 7)},
}
"""Settings of ``UniFormerConfig`` by the names that the paper gives them."""

MMACTION2_KEYS: KeyRules = ((r"^cls_head\.fc_cls\.", "fc."),)
"""Rules for ``rename_keys``, from MMAction2's checkpoints to this module's state dict."""

AUTHORS_KEYS: KeyRules = ((r"^(patch_embed|blocks|norm\.)", r"backbone.\1"), (r"^head\.", "fc."))
"""Rules for ``rename_keys``, from the authors' networks, of clips and of pictures."""

_MLP_RATIO = 4
Stages4 = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class ConvMLP(nn.Module):
    """Two linear layers on each place of a map, as convolutions; ``(B, D, T, H, W)`` -> the same shape."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(width, hidden, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv3d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.fc2(self.act(self.fc1(x)))
        return changed


class LocalBlock(nn.Module):
    """A place gathers from its neighbours by what is learned of their distance alone: a 5x5x5 convolution.

    Args:
        width: D.
        drop_path: share of the rows for which gathering is left out in training, and of those without the MLP.
    """

    def __init__(self, width: int, *, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = _positions(width)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = nn.Conv3d(width, width, 1)
        self.attn = nn.Conv3d(width, width, 5, padding=2, groups=width)
        self.conv2 = nn.Conv3d(width, width, 1)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = ConvMLP(width, _MLP_RATIO * width)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Tensor) -> Tensor:
        """``(B, D, T, H, W)`` -> the same shape."""
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        mixed: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return mixed


class GlobalBlock(TransformerBlock):
    """A place gathers from all others by how they match; what it knows of its own place comes from a convolution."""

    def __init__(self, width: int, num_heads: int, *, drop_path: float) -> None:
        super().__init__(width, num_heads, mlp_ratio=_MLP_RATIO, eps=1e-5, drop_path=drop_path)
        self.pos_embed = _positions(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, D, T, H, W)`` -> the same shape."""
        maps = tokens + self.pos_embed(tokens)
        mixed: Tensor = super().forward(maps.flatten(2).mT)
        return mixed.mT.reshape(maps.shape)


def _positions(width: int) -> nn.Conv3d:
    """What tells a place where it is: a weighted sum of its neighbours, of which those beyond the edges are zeros."""
    return nn.Conv3d(width, width, 3, padding=1, groups=width)


class UniFormerBackbone(nn.Module):
    """Four stages: patches, then blocks; the first two local, the others global.

    Args:
        in_channels: C.
        widths: D of each stage.
        num_blocks: of each stage.
        head_width: D of each part that attends on its own.
        drop_path: see ``LocalBlock``, of the last block; less in those before.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        widths: Sequence[int],
        num_blocks: Sequence[int],
        head_width: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        rates = iter(depth_rates(drop_path, sum(num_blocks)))
        self.patch_embed1 = NormedPatches(in_channels, widths[0], kernel=(3, 4, 4), stride=(2, 4, 4), padding=(1, 0, 0))
        self.patch_embed2, self.patch_embed3, self.patch_embed4 = (
            NormedPatches(widths[stage - 1], widths[stage], kernel=(1, 2, 2)) for stage in range(1, 4)
        )
        self.blocks1, self.blocks2 = (
            nn.Sequential(*(LocalBlock(widths[stage], drop_path=next(rates)) for _ in range(num_blocks[stage])))
            for stage in range(2)
        )
        self.blocks3, self.blocks4 = (
            nn.Sequential(
                *(
                    GlobalBlock(widths[stage], widths[stage] // head_width, drop_path=next(rates))
                    for _ in range(num_blocks[stage])
                )
            )
            for stage in range(2, 4)
        )
        self.norm = nn.BatchNorm3d(widths[3])
        init_transformer(self)

    def stages(self) -> list[tuple[NormedPatches, nn.Sequential]]:
        return [
            (self.patch_embed1, self.blocks1),
            (self.patch_embed2, self.blocks2),
            (self.patch_embed3, self.blocks3),
            (self.patch_embed4, self.blocks4),
        ]

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T / 2, H / 32, W / 32)``; T is rounded up, H and W down."""
        x = clips
        for patches, blocks in self.stages():
            x = blocks(patches(x).movedim(-1, 1))
        maps: Tensor = self.norm(x)
        return maps

    def parts_by_depth(self) -> list[list[nn.Module]]:
        parts = [[block] for _, blocks in self.stages() for block in blocks]
        first = 0
        for patches, blocks in self.stages():
            parts[first].insert(0, patches)
            first += len(blocks)
        parts[-1].append(self.norm)
        return parts


class UniFormer(Recognizer):
    """UniFormer's backbone, the mean over space and time, and a linear classifier; any size of clips will do.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        widths: D of each stage.
        num_blocks: of each stage.
        head_width: D of each part that attends on its own.
        drop_path: see ``UniFormerBackbone``.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        widths: Sequence[int] = (64, 128, 320, 512),
        num_blocks: Sequence[int] = (3, 4, 8, 3),
        head_width: int = 64,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.backbone = UniFormerBackbone(
            in_channels=len(mean),
            widths=widths,
            num_blocks=num_blocks,
            head_width=head_width,
            drop_path=drop_path,
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(widths[3], num_classes, INIT_STD)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D, T / 2, H / 32, W / 32)``."""
        maps: Tensor = self.backbone(clips)
        return maps

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D, t, h, w)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS, "its authors": AUTHORS_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return self.backbone.parts_by_depth()


class UniFormerConfig(ModelConfig):
    """Settings of UniFormer, those of the published networks in ``SIZES``; ``mean`` has a number for each channel."""

    kind: str = "uniformer"
    mean: tuple[float, ...] = Field(UNIFORMER_MEAN, min_length=1)
    std: tuple[PositiveFloat, ...] = UNIFORMER_STD
    widths: Stages4 = (64, 128, 320, 512)
    """D of each stage."""
    num_blocks: Stages4 = (3, 4, 8, 3)
    """Of each stage."""
    head_width: PositiveInt = 64
    """D of each part that attends on its own."""
    drop_path: float = Field(0.1, ge=0, lt=1)
    """Share of the clips for which the last block's parts are left out in training; less in those before."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the averaged features dropped in training."""
    pretrained: str | None = None
    """Weights to start from, of clips or of pictures: a file or a URL; none is a random start."""
    inflation: Inflation = "center"
    """How kernels of a picture's network reach over time: on the middle frame alone (center), or repeated (mean)."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if any(width % self.head_width for width in self.widths[2:]):
            raise ValueError(
                f"head_width, got {self.head_width} with widths {list(self.widths)}; it should divide the last two"
            )
        return self

    def build(self) -> UniFormer:
        model = UniFormer(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            widths=self.widths,
            num_blocks=self.num_blocks,
            head_width=self.head_width,
            drop_path=self.drop_path,
            dropout=self.dropout,
        )
        load_pretrained(model, self.pretrained, self.inflation)
        return model


def uniformer_small(num_classes: int = 400) -> UniFormer:
    """21.4 M parameters; trained on 16 frames, 4 or 8 apart.

    Source: arXiv 2201.04676, table 2; MMAction2's uniformer-small_imagenet1k-pre_16x4x1.
    """
    return UniFormerConfig(num_classes=num_classes).build()


def uniformer_base(num_classes: int = 400) -> UniFormer:
    """49.8 M parameters; trained on 16 or 32 frames, 4 apart.

    Source: arXiv 2201.04676, table 2; MMAction2's uniformer-base_imagenet1k-pre_32x4x1.
    """
    return UniFormerConfig(num_classes=num_classes, drop_path=0.3, **SIZES["base"]).build()
