"""What UniFormerV2 adds to a vision transformer: relations over time within its blocks, a token of the video beside it.

Source: arXiv 2211.09552.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from kinoray.models.layers.attention import CrossAttention, SelfAttention
from kinoray.models.layers.transformer import MLP, QuickGELU

CLIP_EPS = 1e-5
"""Of CLIP's norms, and those beside them."""
TIME_KERNEL = 3

Grid = tuple[int, int, int]
"""t, h and w of the tokens that are places."""


class LocalRelation(nn.Module):
    """What the same place holds in the frame before and after, in fewer channels; at first it adds nothing.

    Args:
        width: D.
        reduction: how many times fewer channels.
    """

    def __init__(self, width: int, reduction: float) -> None:
        super().__init__()
        narrow = int(width // reduction)
        self.norm = nn.BatchNorm3d(width)
        self.narrow = nn.Conv3d(width, narrow, 1)
        self.over_time = nn.Conv3d(narrow, narrow, (TIME_KERNEL, 1, 1), padding=(1, 0, 0), groups=narrow)
        self.widen = nn.Conv3d(narrow, width, 1)
        nn.init.zeros_(self.widen.weight)
        nn.init.constant_(self.widen.get_parameter("bias"), 0.0)

    def forward(self, places: Tensor, grid: Grid) -> Tensor:
        """``(B * t, h * w, D)`` -> the same shape."""
        maps: Tensor = self.widen(self.over_time(self.narrow(self.norm(_as_maps(places, grid)))))
        return _as_tokens(maps).flatten(0, 1)


class LocalBlock(nn.Module):
    """A transformer's block with local relations over time before its attention and, maybe, after it.

    Args:
        width: D.
        num_heads: see ``SelfAttention``.
        twice: whether there is one after it.
        reduction: see ``LocalRelation``.
        drop_path: share of the rows for which a part is left out in training.
    """

    def __init__(self, width: int, num_heads: int, *, twice: bool, reduction: float, drop_path: float) -> None:
        super().__init__()
        self.local1 = LocalRelation(width, reduction)
        self.local2 = LocalRelation(width, reduction) if twice else None
        self.norm1 = nn.LayerNorm(width, CLIP_EPS)
        self.attn = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, CLIP_EPS)
        self.mlp = MLP(width, 4 * width, activation=QuickGELU)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, frames: Tensor, grid: Grid) -> Tensor:
        """``(B * t, 1 + h * w, D)`` -> the same shape."""
        frames = self._related(frames, grid, self.local1)
        frames = frames + self.drop_path(self.attn(self.norm1(frames)))
        if self.local2 is not None:
            frames = self._related(frames, grid, self.local2)
        changes: Tensor = self.drop_path(self.mlp(self.norm2(frames)))
        return frames + changes

    def _related(self, frames: Tensor, grid: Grid, local: LocalRelation) -> Tensor:
        class_tokens, places = frames[:, :1], frames[:, 1:]
        return torch.cat([class_tokens, places + self.drop_path(local(places, grid))], dim=1)


class GlobalBlock(nn.Module):
    """The token of the video asks all tokens of all frames, which are told first where they are.

    Args:
        width: D.
        num_heads: see ``CrossAttention``.
        drop_path: share of the videos for which a part is left out in training.
        dropout: share of the MLP's hidden features dropped in training.
    """

    def __init__(self, width: int, num_heads: int, *, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.position = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, CLIP_EPS)
        self.norm_asked = nn.LayerNorm(width, CLIP_EPS)
        self.attn = CrossAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, CLIP_EPS)
        self.mlp = MLP(width, 4 * width, activation=QuickGELU, dropout=dropout)
        self.drop_path = StochasticDepth(drop_path, mode="row")
        for layer, last in ((self.attn.qkv, self.attn.proj), (self.mlp.fc1, self.mlp.fc2)):
            nn.init.xavier_uniform_(layer.weight)  # a block starts as if it were not there
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, video: Tensor, frames: Tensor, grid: Grid) -> Tensor:
        """``(B, 1, D)`` and ``(B * t, 1 + h * w, D)`` -> ``(B, 1, D)``."""
        places = frames[:, 1:]
        places = places + _as_tokens(self.position(_as_maps(places, grid))).flatten(0, 1)
        asked = torch.cat([frames[:, :1], places], dim=1).reshape(video.shape[0], -1, video.shape[2])
        video = video + self.drop_path(self.attn(self.norm1(video), self.norm_asked(asked)))
        changes: Tensor = self.drop_path(self.mlp(self.norm2(video)))
        return video + changes


class Fusion(nn.Module):
    """The token of the video and the mean of its frames' class tokens, weighed channel by channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.balance = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, CLIP_EPS)

    def forward(self, video: Tensor, frames: Tensor) -> Tensor:
        """``(B, D)`` twice -> ``(B, D)``."""
        share = self.balance.sigmoid()
        features: Tensor = self.norm((1 - share) * video + share * frames)
        return features


def _as_maps(places: Tensor, grid: Grid) -> Tensor:
    """``(B * t, h * w, D)`` -> ``(B, D, t, h, w)``."""
    return places.reshape(-1, *grid, places.shape[2]).permute(0, 4, 1, 2, 3)


def _as_tokens(maps: Tensor) -> Tensor:
    """``(B, D, t, h, w)`` -> ``(B, t, h * w, D)``."""
    return maps.permute(0, 2, 3, 4, 1).flatten(2, 3)
