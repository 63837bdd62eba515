"""Video Swin: attention within windows of a clip, which are shifted from block to block so that windows meet.

Maps have their channels last here, ``(B, T, H, W, D)``; sizes are (time, height, width).

Source: arXiv 2106.13230. Numbers compared with SwinTransformer3D and I3DHead of MMAction2 at 4d6c934.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torchvision.ops import StochasticDepth

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation
from kinoray.models.kinds import ModelConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.normed_patches import NormedPatches
from kinoray.models.layers.transformer import INIT_STD, MLP, depth_rates, init_transformer
from kinoray.models.layers.window_attention import Size3, WindowAttention, Windows, steps_between
from kinoray.models.pretrained import load_pretrained, source_for
from kinoray.models.weights import KeyRules

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"width": 96, "num_blocks": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "small": {"width": 96, "num_blocks": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "base": {"width": 128, "num_blocks": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    "large": {"width": 192, "num_blocks": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
}
"""Settings of ``VideoSwinConfig`` by the names that the paper and MMAction2 give them."""

_COMPUTED: KeyRules = ((r"\.(relative_position_index|attn_mask)$", ()),)

MMACTION2_KEYS: KeyRules = (
    *_COMPUTED,
    (r"^backbone\.layers\.", "backbone.stages."),
    (r"^backbone\.norm3\.", "backbone.norm."),
    (r"^cls_head\.fc_cls\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints, and the authors' of clips, to this module's state dict."""

PICTURE_KEYS: KeyRules = (
    *_COMPUTED,
    (r"^layers\.", "backbone.stages."),
    (r"^(patch_embed|norm)\.", r"backbone.\1."),
)
"""Rules for ``rename_keys``, from the authors' networks of pictures."""

_TORCHVISION_BLOCKS: KeyRules = (
    *_COMPUTED,
    (r"^norm\.", "backbone.norm."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
)
TORCHVISION_PICTURE_KEYS: KeyRules = (
    *_TORCHVISION_BLOCKS,
    (r"^features\.0\.0\.", "backbone.patch_embed.proj."),
    (r"^features\.0\.2\.", "backbone.patch_embed.norm."),
    *((rf"^features\.{2 * stage + 1}\.", f"backbone.stages.{stage}.blocks.") for stage in range(4)),
    *((rf"^features\.{2 * stage + 2}\.", f"backbone.stages.{stage}.downsample.") for stage in range(3)),
)
"""Rules for ``rename_keys``, from torchvision's swin_t, swin_s and swin_b."""

TORCHVISION_KEYS: KeyRules = (
    *_TORCHVISION_BLOCKS,
    (r"^patch_embed\.", "backbone.patch_embed."),
    *((rf"^features\.{2 * stage}\.", f"backbone.stages.{stage}.blocks.") for stage in range(4)),
    *((rf"^features\.{2 * stage + 1}\.", f"backbone.stages.{stage}.downsample.") for stage in range(3)),
    (r"^head\.", "fc."),
)
"""Rules for ``rename_keys``, from torchvision's swin3d_t, swin3d_s and swin3d_b."""

_PATCH = (2, 4, 4)
_MLP_RATIO = 4


class SwinBlock(nn.Module):
    """Attention within windows, then an MLP on each place; both are added to what they were given.

    Args:
        width: D.
        num_heads: see ``WindowAttention``.
        window: see ``WindowAttention``.
        drop_path: share of the rows for which attention is left out in training, and of those without the MLP.
    """

    def __init__(self, width: int, num_heads: int, window: Size3, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, num_heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, _MLP_RATIO * width)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Tensor, windows: Windows, steps: Tensor, apart: Tensor | None) -> Tensor:
        """``(B, T, H, W, D)`` -> the same shape; the rest is as in ``WindowAttention``."""
        _, t, h, w, _ = x.shape
        gathered = self.attn(windows.cut(self.norm1(x)), steps, apart)
        x = x + self.drop_path(windows.join(gathered, (t, h, w)))
        mixed: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return mixed


class PatchMerging(nn.Module):
    """Four neighbours become one place of twice the width; ``(B, T, H, W, D)`` -> ``(B, T, H / 2, W / 2, 2 D)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Odd H and W are rounded up."""
        x = pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        neighbours = [x[:, :, row::2, column::2] for column in range(2) for row in range(2)]
        merged: Tensor = self.reduction(self.norm(torch.cat(neighbours, dim=-1)))
        return merged


class SwinStage(nn.Module):
    """Blocks whose windows are in place and shifted by turns, then, but in the last stage, a merging of patches.

    Args:
        width: D.
        num_heads: see ``WindowAttention``.
        window: see ``WindowAttention``.
        drop_paths: see ``SwinBlock``, one for each block.
        merges: whether patches are merged.
    """

    def __init__(self, width: int, num_heads: int, window: Size3, *, drop_paths: Sequence[float], merges: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(SwinBlock(width, num_heads, window, drop_path=rate) for rate in drop_paths)
        self.downsample = PatchMerging(width) if merges else nn.Identity()
        self.register_buffer("steps", steps_between(window), persistent=False)
        self.steps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, H, W, D)`` -> ``(B, T, H / 2, W / 2, 2 D)``, or the same shape without merging."""
        in_place, shifted = (Windows.of(x.shape[1:4], self.window, shifted=is_shifted) for is_shifted in (False, True))
        num_places = math.prod(in_place.size)
        # For a window that is smaller in time these are its own steps. For one that is smaller in height or width they
        # are not, and it is what the reference does.
        steps = self.steps[:num_places, :num_places]
        apart = shifted.apart(x.device)
        for number, block in enumerate(self.blocks):
            x = block(x, shifted, steps, apart) if number % 2 else block(x, in_place, steps, None)
        merged: Tensor = self.downsample(x)
        return merged


class VideoSwinBackbone(nn.Module):
    """Patches and four stages.

    Args:
        in_channels: C.
        width: D of the first stage, doubled from each to the next.
        num_blocks: of each stage.
        num_heads: of each stage.
        window: see ``WindowAttention``.
        drop_path: see ``SwinBlock``, of the last block; less in those before.

    Attributes:
        out_width: D of the last stage.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        num_blocks: Sequence[int],
        num_heads: Sequence[int],
        window: Size3,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.patch_embed = NormedPatches(in_channels, width, kernel=_PATCH)
        rates = depth_rates(drop_path, sum(num_blocks))
        firsts = [sum(num_blocks[:stage]) for stage in range(4)]
        self.stages = nn.ModuleList(
            SwinStage(
                width * 2**stage,
                num_heads[stage],
                window,
                drop_paths=rates[firsts[stage] : firsts[stage] + num_blocks[stage]],
                merges=stage < 3,
            )
            for stage in range(4)
        )
        self.out_width = 8 * width
        self.norm = nn.LayerNorm(self.out_width)
        init_transformer(self)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, T / 2, H / 32, W / 32, D)``, all rounded up."""
        t, h, w = (-side % patch for side, patch in zip(clips.shape[2:], _PATCH, strict=True))
        x = self.patch_embed(pad(clips, (0, w, 0, h, 0, t)))
        for stage in self.stages:
            x = stage(x)
        maps: Tensor = self.norm(x)
        return maps

    def parts_by_depth(self) -> list[list[nn.Module]]:
        parts: list[list[nn.Module]] = []
        for stage in self.stages:
            assert isinstance(stage, SwinStage)
            parts += [[block] for block in stage.blocks]
            parts[-1].append(stage.downsample)
        parts[0].insert(0, self.patch_embed)
        parts[-1].append(self.norm)
        return parts


class VideoSwin(Recognizer):
    """Video Swin's backbone, the mean over space and time, and a linear classifier; any size of clips will do.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        width: D of the first stage.
        num_blocks: of each stage.
        num_heads: of each stage.
        window: T, H, W of a window, in places of a map.
        drop_path: see ``VideoSwinBackbone``.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        width: int = 96,
        num_blocks: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: Size3 = (8, 7, 7),
        drop_path: float = 0.1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.window = window
        self.backbone = VideoSwinBackbone(
            in_channels=len(mean),
            width=width,
            num_blocks=num_blocks,
            num_heads=num_heads,
            window=window,
            drop_path=drop_path,
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(self.backbone.out_width, num_classes, INIT_STD)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, T / 2, H / 32, W / 32, D)``."""
        maps: Tensor = self.backbone(clips)
        return maps

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, t, h, w, D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(1, 2, 3))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {
            "MMAction2": MMACTION2_KEYS,
            "Swin": PICTURE_KEYS,
            "torchvision": TORCHVISION_KEYS,
            "torchvision's Swin": TORCHVISION_PICTURE_KEYS,
        }

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return self.backbone.parts_by_depth()

    def fit(self, name: str, value: Tensor) -> Tensor | None:
        """A picture's table of steps is resized, and repeated for every step in time."""
        if not name.endswith(".relative_position_bias_table") or value.ndim != 2:
            return None
        side = math.isqrt(value.shape[0])
        if side * side != value.shape[0] or value.shape[1] != self.get_parameter(name).shape[1]:
            return None
        t, h, w = (2 * length - 1 for length in self.window)
        table: Tensor = value.mT.unflatten(1, (side, side))
        if (h, w) != (side, side):
            table = interpolate(table[None], size=(h, w), mode="bicubic")[0]
        return table.flatten(1).mT.repeat(t, 1)


Stages4 = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class VideoSwinConfig(ModelConfig):
    """Settings of Video Swin, those of the published networks in ``SIZES``; ``mean`` has a number for each channel."""

    kind: str = "video_swin"
    width: PositiveInt = 96
    """D of the first stage, doubled from each to the next."""
    num_blocks: Stages4 = (2, 2, 6, 2)
    """Of each stage; windows are in place and shifted by turns."""
    num_heads: Stages4 = (3, 6, 12, 24)
    """Parts of D that attend on their own, in each stage."""
    window: tuple[PositiveInt, PositiveInt, PositiveInt] = (8, 7, 7)
    """Places of a map, (time, height, width), that attend to each other."""
    drop_path: float = Field(0.1, ge=0, lt=1)
    """Share of the clips for which the last block's parts are left out in training; less in those before."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the averaged features dropped in training."""
    pretrained: str | None = None
    """Weights to start from, of clips or of pictures: a file or a URL, or IMAGENET1K_V1, torchvision's of the 2D Swin
    of that size; none is a random start."""
    inflation: Inflation = "mean"
    """How the first kernel of a picture's network reaches over time: repeated (mean), or on one frame (center)."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.num_heads)):
            raise ValueError(
                f"num_heads, got {list(self.num_heads)} with width {self.width}; each should divide its stage's width"
            )
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
        same_size = (
            f"swin_{size[0]}"
            for size, settings in SIZES.items()
            if (settings["width"], settings["num_blocks"]) == (self.width, self.num_blocks)
        )
        return source_for(self.pretrained, next(same_size, "a Swin of this size"))

    def build(self) -> VideoSwin:
        model = VideoSwin(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            width=self.width,
            num_blocks=self.num_blocks,
            num_heads=self.num_heads,
            window=self.window,
            drop_path=self.drop_path,
            dropout=self.dropout,
        )
        load_pretrained(model, self.source(), self.inflation)
        return model


def video_swin_tiny(num_classes: int = 400) -> VideoSwin:
    """28.2 M parameters; trained on 32 frames, 2 apart.

    Source: arXiv 2106.13230, table 1; MMAction2's swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e.
    """
    return VideoSwinConfig(num_classes=num_classes).build()


def video_swin_small(num_classes: int = 400) -> VideoSwin:
    """49.8 M parameters; trained on 32 frames, 2 apart.

    Source: arXiv 2106.13230, table 1; MMAction2's swin-small-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e.
    """
    return VideoSwinConfig(num_classes=num_classes, drop_path=0.2, **SIZES["small"]).build()


def video_swin_base(num_classes: int = 400) -> VideoSwin:
    """88.0 M parameters; trained on 32 frames, 2 apart.

    Source: arXiv 2106.13230, table 1; MMAction2's swin-base-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e.
    """
    return VideoSwinConfig(num_classes=num_classes, drop_path=0.3, **SIZES["base"]).build()


def video_swin_large(num_classes: int = 400) -> VideoSwin:
    """197.0 M parameters; trained on 32 frames, 2 apart.

    Source: arXiv 2106.13230, table 1; MMAction2's swin-large-p244-w877_in22k-pre_8xb8-amp-32x2x1-30e.
    """
    return VideoSwinConfig(num_classes=num_classes, drop_path=0.4, **SIZES["large"]).build()
