"""The parts of vision transformers: blocks, tokens of pictures, positions.

Source: arXiv 2010.11929 (ViT), 2103.17239 (scaled branches).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import StochasticDepth

from kinoray.errors import ConfigError
from kinoray.models.layers.attention import QkvBias, SelfAttention
from kinoray.models.weights import KeyRules

INIT_STD = 0.02

VIT_KEYS: KeyRules = (
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^transformer_layers\.layers\.", "blocks."),
    (r"^(blocks\.\d+)\.norms\.0\.", r"\1.norm1."),
    (r"^(blocks\.\d+)\.norms\.1\.", r"\1.norm2."),
    (r"^(blocks\.\d+)\.attentions\.0\.", r"\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"^(blocks\.\d+)\.(?:ffns\.0|mlp)\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+)\.(?:ffns\.0|mlp)\.layers\.1\.", r"\1.mlp.fc2."),
)
"""Rules for ``rename_keys``, from the names that MMAction2 and MMCV give a transformer to those of timm, and ours."""

TORCHVISION_VIT_KEYS: KeyRules = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_", "blocks."),
    (r"^encoder\.ln\.", "norm."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)
"""Rules for ``rename_keys``, from torchvision's ViT to timm's names, and ours."""


class MLP(nn.Module):
    """Two linear layers, on each token.

    Args:
        width: D of what comes.
        hidden: width between the layers.
        out_width: of what goes; none is ``width``.
        activation: between them.
        dropout: share of the hidden features dropped in training.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        out_width: int | None = None,
        activation: type[nn.Module] = nn.GELU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, out_width or width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(..., D)`` -> ``(..., out_width)``."""
        changed: Tensor = self.fc2(self.dropout(self.act(self.fc1(tokens))))
        return changed


class QuickGELU(nn.Module):
    """The approximation of GELU by a sigmoid that CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return x * torch.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    """Each channel times a factor that is learned and begins small."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(..., D)`` -> the same shape."""
        return tokens * self.gamma


class TransformerBlock(nn.Module):
    """Attention between the tokens of a row, then an MLP on each; both are added to what they were given.

    Args:
        width: D.
        num_heads: see ``SelfAttention``.
        mlp_ratio: how many times wider the MLP is inside.
        bias: see ``SelfAttention``.
        eps: of the norms before attention and MLP.
        activation: of the MLP.
        drop_path: share of the rows for which attention is left out in training, and of those without the MLP.
        layer_scale: see ``LayerScale``; 0 is without.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        bias: QkvBias = "all",
        eps: float = 1e-6,
        activation: type[nn.Module] = nn.GELU,
        drop_path: float = 0.0,
        layer_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = SelfAttention(width, num_heads, bias=bias)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = MLP(width, int(width * mlp_ratio), activation=activation)
        self.scale1 = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.scale2 = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, L, D)`` -> the same shape."""
        tokens = tokens + self.drop_path(self.scale1(self.attn(self.norm1(tokens))))
        changes: Tensor = self.drop_path(self.scale2(self.mlp(self.norm2(tokens))))
        return tokens + changes


class PatchEmbedding(nn.Module):
    """Cut clips into boxes of pixels and make each a token: a convolution, whose stride is its kernel or smaller.

    Args:
        in_channels: C.
        width: D.
        kernel: frames, height and width of a box.
        stride: from one box to the next; none is the kernel.
        padding: zeros around the clip.
        bias: whether a token has one.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] | None = None,
        padding: tuple[int, int, int] = (0, 0, 0),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, kernel, stride=stride or kernel, padding=padding, bias=bias)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, t, h, w, D)``, as many as there are places for the kernel."""
        return self.proj(clips).permute(0, 2, 3, 4, 1)  # type: ignore[no-any-return]  # a Tensor


class FrameEmbedding(nn.Module):
    """Cut frames into squares of pixels and make each a token, by the kernel of a picture's transformer.

    Args:
        in_channels: C.
        width: D.
        patch: height and width of a square.
    """

    def __init__(self, in_channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch, stride=patch)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, T, P, D)``."""
        maps: Tensor = self.proj(clips.transpose(1, 2).flatten(0, 1))
        num_frames, width = clips.shape[2], maps.shape[1]
        return maps.flatten(2).transpose(1, 2).reshape(clips.shape[0], num_frames, -1, width)


def sinusoids(length: int, width: int) -> Tensor:
    """Positions as sines and cosines of falling frequency, by turns (arXiv 1706.03762, section 3.5): ``(L, D)``."""
    pairs = torch.arange(width, dtype=torch.float64) // 2
    angles = torch.arange(length, dtype=torch.float64)[:, None] * 10000 ** (-2 * pairs / width)
    is_even = torch.arange(width) % 2 == 0
    return torch.where(is_even, angles.sin(), angles.cos()).float()


def resized_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions of a grid of places, of one frame or more, for a finer or coarser grid over the same picture.

    Args:
        positions: ``(1, T * h * w, D)``.
        old: h and w.
        new: the h and w that are wanted.
    """
    if old == new:
        return positions
    maps = positions.reshape(-1, *old, positions.shape[2]).permute(0, 3, 1, 2)
    resized = interpolate(maps, size=new, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).flatten(0, 2).unsqueeze(0)


def fitted_positions(positions: Tensor, shape: torch.Size) -> Tensor | None:
    """Positions of a class token and a square of places, for another square; None where they are no such positions.

    Args:
        positions: ``(1 + P, D)``, or with axes of 1 before.
        shape: wanted.
    """
    old, new = (math.isqrt(size[-2] - 1) for size in (positions.shape, shape))
    width = shape[-1]
    if positions.shape != (*shape[:-2], 1 + old**2, width) or shape[-2] != 1 + new**2:
        return None
    rows = positions.reshape(1, -1, width)
    places = resized_positions(rows[:, 1:], (old, old), (new, new))
    return torch.cat([rows[:, :1], places], dim=1).reshape(shape)


def check_clip_size(clips: Tensor, wanted: tuple[int, int, int], name: str) -> None:
    """See that ``(B, C, T, H, W)`` clips have the frames, height and width that a network has positions for.

    Raises:
        ConfigError: they have not.
    """
    if tuple(clips.shape[2:]) != wanted:
        sizes = (" x ".join(map(str, size)) for size in (wanted, clips.shape[2:]))
        raise ConfigError(
            "model: {} for clips of {} (frames, height, width), got {}; set model.num_frames and model.crop to what "
            "data's clip_len and crop say".format(name, *sizes)
        )


def depth_rates(last: float, depth: int) -> Sequence[float]:
    """Shares that rise evenly from 0 in the first of ``depth`` blocks to ``last`` in the last one."""
    return [last * number / max(depth - 1, 1) for number in range(depth)]


def init_transformer(module: nn.Module) -> None:
    """Small normal weights, cut off at two deviations, and no bias: how vision transformers start."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=INIT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
