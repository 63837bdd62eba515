"""Multi-head attention: every token gathers from others what they hold, weighted by how they match.

Source: arXiv 1706.03762.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

QkvBias = Literal["all", "no_keys", "none"]
"""Which of queries, keys and values have a bias. That of the keys moves all matches of a query alike, and softmax
undoes it: some networks go without."""


class SelfAttention(nn.Module):
    """Every token gathers from all tokens of its row.

    Args:
        width: D, a multiple of ``num_heads``.
        num_heads: parts of D that match on their own.
        bias: see ``QkvBias``.
    """

    def __init__(self, width: int, num_heads: int, *, bias: QkvBias = "all") -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias == "all")
        has_parts = bias == "no_keys"
        self.q_bias = nn.Parameter(torch.zeros(width)) if has_parts else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if has_parts else None
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, L, D)`` -> the same shape."""
        if self.q_bias is None or self.v_bias is None:
            projected = self.qkv(tokens)
        else:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
            projected = linear(tokens, self.qkv.weight, bias)
        queries, keys, values = heads(projected, 3, self.num_heads)
        mixed: Tensor = self.proj(joined(scaled_dot_product_attention(queries, keys, values)))
        return mixed


class CrossAttention(nn.Module):
    """Some tokens gather from others; the three projections are one tensor, as in ``SelfAttention``.

    Args:
        width: D, a multiple of ``num_heads``.
        num_heads: parts of D that match on their own.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """``(B, A, D)`` and ``(B, L, D)`` -> ``(B, A, D)``."""
        width = self.proj.in_features
        weight, bias = self.qkv.weight, self.qkv.bias
        (queries,) = heads(linear(asking, weight[:width], bias[:width]), 1, self.num_heads)
        keys, values = heads(linear(asked, weight[width:], bias[width:]), 2, self.num_heads)
        mixed: Tensor = self.proj(joined(scaled_dot_product_attention(queries, keys, values)))
        return mixed


def heads(projected: Tensor, num_parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """``(B, L, num_parts * D)`` -> so many ``(B, num_heads, L, D / num_heads)``."""
    parts = projected.reshape(*projected.shape[:2], num_parts, num_heads, -1)
    return tuple(parts[:, :, number].transpose(1, 2) for number in range(num_parts))


def joined(mixed: Tensor) -> Tensor:
    """``(B, num_heads, L, d)`` -> ``(B, L, num_heads * d)``."""
    return mixed.transpose(1, 2).flatten(2)
