"""MViT's attention: queries, keys and values are maps that a strided convolution makes smaller before they meet.

Shapes: heads are an axis of their own, ``(B, heads, L, D)``; the L tokens are a class token, where there is one, and
then T x H x W places of a map. Sizes are (time, height, width).

Source: arXiv 2104.11227 (pooling), 2112.01526 (positions along each axis, what is added after pooling).
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention

from kinoray.models.layers.attention import heads, joined

Size3 = tuple[int, int, int]
NORM_EPS = 1e-6
# Fused attention on GPUs asks for rows of whole 16 bytes.
_ALIGNMENT = 8


class Pooling(NamedTuple):
    """How an attention changes the size of its map.

    Attributes:
        size: of the map that it is made for; others will do, then positions are interpolated.
        query_stride: of the queries, so of the map that comes out.
        key_stride: of keys and values.
    """

    size: Size3
    query_stride: Size3
    key_stride: Size3

    def of_next_stage(self) -> Self:
        """Of the attention that begins a stage: it halves the map, so keys have half as far to go."""
        t, h, w = (max(step // 2, 1) for step in self.key_stride)
        return self._replace(query_stride=(1, 2, 2), key_stride=(t, h, w))

    def size_after(self) -> Size3:
        """Of the map that comes out, as the reference counts it: rounded down, though pooling rounds up."""
        t, h, w = (side // stride for side, stride in zip(self.size, self.query_stride, strict=True))
        return t, h, w


class PooledAttention(nn.Module):
    """Attention from a pooled map to another that is pooled further.

    Args:
        in_width: D of the input.
        width: D of the output.
        num_heads: parts of ``width`` that compare tokens each in its own way.
        pooling: sizes and strides.
        num_extra: tokens before those of the map; they are not pooled and have no position.
        residual: whether pooled queries are added to what they gather.
    """

    def __init__(
        self, in_width: int, width: int, num_heads: int, pooling: Pooling, *, num_extra: int, residual: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_extra = num_extra
        self.residual = residual
        head_width = width // num_heads
        self.qkv = nn.Linear(in_width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.pool_q = _pool(head_width, pooling.query_stride)
        self.pool_k = _pool(head_width, pooling.key_stride)
        self.pool_v = _pool(head_width, pooling.key_stride)
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(head_width, eps=NORM_EPS) for _ in range(3))
        t, h, w = (
            side // min(strides)
            for side, *strides in zip(pooling.size, pooling.query_stride, pooling.key_stride, strict=True)
        )
        self.rel_pos_t = nn.Parameter(torch.zeros(2 * t - 1, head_width))
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * h - 1, head_width))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * w - 1, head_width))
        for table in (self.rel_pos_t, self.rel_pos_h, self.rel_pos_w):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, x: Tensor, size: Size3) -> tuple[Tensor, Size3]:
        """``(B, L, in_width)`` of a map of that size -> ``(B, L', width)`` and the size of the pooled map."""
        q, k, v = heads(self.qkv(x), 3, self.num_heads)
        q, q_size = pool_tokens(q, size, self.pool_q, self.num_extra)
        k, k_size = pool_tokens(k, size, self.pool_k, self.num_extra)
        v, _ = pool_tokens(v, size, self.pool_v, self.num_extra)
        q, k, v = self.norm_q(q), self.norm_k(k), self.norm_v(v)
        gathered = scaled_dot_product_attention(*self._with_positions(q, k, q_size, k_size), v, scale=1.0)
        if self.residual:
            gathered = gathered + _without_extra(q, self.num_extra)
        result: Tensor = self.proj(joined(gathered))
        return result, q_size

    def _with_positions(self, q: Tensor, k: Tensor, q_size: Size3, k_size: Size3) -> tuple[Tensor, Tensor]:
        """Queries and keys whose dot product is the scaled one of the given plus that of their relative position.

        A query meets its position's embeddings along one axis at a time, which gives a number for every place of a key
        on that axis. These numbers are joined to the query, and to the key ones at its three places: so no table of all
        pairs is made, as large as the attention itself.
        """
        places = q[:, :, self.num_extra :].unflatten(2, q_size)
        to_t = torch.einsum("bnthwd,tkd->bnthwk", places, relative_positions(self.rel_pos_t, q_size[0], k_size[0]))
        to_h = torch.einsum("bnthwd,hkd->bnthwk", places, relative_positions(self.rel_pos_h, q_size[1], k_size[1]))
        to_w = torch.einsum("bnthwd,wkd->bnthwk", places, relative_positions(self.rel_pos_w, q_size[2], k_size[2]))
        numbers = torch.cat([to_t, to_h, to_w], dim=-1).flatten(2, 4)
        spare = -(q.shape[-1] + sum(k_size)) % _ALIGNMENT
        of_queries = pad(numbers, (0, spare, self.num_extra, 0))
        of_keys = pad(_ones_at_places(k_size, k), (0, spare, self.num_extra, 0)).expand(*k.shape[:2], -1, -1)
        scale = q.shape[-1] ** -0.5
        return torch.cat([q * scale, of_queries.to(q.dtype)], dim=-1), torch.cat([k, of_keys], dim=-1)


def _pool(width: int, stride: Size3) -> nn.Conv3d:
    return nn.Conv3d(width, width, 3, stride, padding=1, groups=width, bias=False)


def pool_tokens(x: Tensor, size: Size3, pool: nn.Module, num_extra: int) -> tuple[Tensor, Size3]:
    """Pool the map among tokens.

    Args:
        x: ``(B, heads, L, D)``.
        size: of the map.
        pool: from ``(B * heads, D, T, H, W)`` to a smaller map.
        num_extra: tokens before those of the map; they stay as they are.

    Returns:
        ``(B, heads, L', D)`` and the size of the pooled map.
    """
    extra, places = x[:, :, :num_extra], x[:, :, num_extra:]
    maps = pool(places.flatten(0, 1).mT.unflatten(-1, size))
    pooled = maps.flatten(2).mT.unflatten(0, x.shape[:2])
    t, h, w = maps.shape[2:]
    return torch.cat([extra, pooled], dim=2), (t, h, w)


def relative_positions(table: Tensor, num_queries: int, num_keys: int) -> Tensor:
    """The embedding of each pair's distance along an axis.

    Args:
        table: ``(2 S - 1, D)``, from the farthest before to the farthest behind; interpolated to the S that is needed.
        num_queries: places on the axis.
        num_keys: places on the same axis, nearer together or farther apart.

    Returns:
        ``(num_queries, num_keys, D)``.
    """
    num_distances = 2 * max(num_queries, num_keys) - 1
    if table.shape[0] != num_distances:
        table = resized_distances(table, num_distances)
    # In this order, for sums of thirds and the like are to be rounded down as the reference's are.
    query_step, key_step = max(num_keys / num_queries, 1.0), max(num_queries / num_keys, 1.0)
    queries = torch.arange(num_queries, device=table.device)[:, None] * query_step
    keys = torch.arange(num_keys, device=table.device)[None] * key_step
    distances = queries - keys + (num_keys - 1) * key_step
    return table[distances.long()]


def resized_distances(table: Tensor, num_distances: int) -> Tensor:
    """``(2 S - 1, D)`` -> ``(num_distances, D)``, in straight lines between the given ones."""
    return interpolate(table.mT[None], size=num_distances, mode="linear")[0].mT


def _ones_at_places(size: Size3, like: Tensor) -> Tensor:
    """``(T * H * W, T + H + W)``: of every place of a map, ones at its time, its row and its column."""
    t, h, w = size
    eyes = [torch.eye(side, dtype=like.dtype, device=like.device) for side in size]
    at_t = eyes[0][:, None, None].expand(t, h, w, t)
    at_h = eyes[1][None, :, None].expand(t, h, w, h)
    at_w = eyes[2][None, None].expand(t, h, w, w)
    return torch.cat([at_t, at_h, at_w], dim=-1).flatten(0, 2)


def _without_extra(x: Tensor, num_extra: int) -> Tensor:
    """Zeros in place of the tokens that are none of the map."""
    return pad(x[:, :, num_extra:], (0, 0, num_extra, 0))
