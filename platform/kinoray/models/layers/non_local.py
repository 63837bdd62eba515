"""Non-local blocks: every place of a feature map also sees all the others, in space and time.

Source: arXiv 1711.07971. Numbers compared with NonLocal3d of mmcv 2.2.0, with its sub_sample.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

NonLocalKind = Literal["dot_product", "embedded_gaussian", "gaussian"]


class NonLocal3d(nn.Module):
    """A map plus what each of its L places gathers from those of the map at half its height and width.

    It starts as the identity: its last batch norm has weights of zero. ``phi`` and ``g`` are pooled after their 1x1x1
    convolutions, as the paper's section 3.3 proposes, so height and width are at least 2.

    Args:
        channels: C; what is gathered has half as many.
        kind: how two places are compared: by the dot product of their embeddings, over the number of places
            (``dot_product``) or in a softmax (``embedded_gaussian``), or in one without embeddings (``gaussian``).
        scale: whether ``embedded_gaussian`` divides by the square root of the embeddings' width, as attention does.
    """

    def __init__(self, channels: int, kind: NonLocalKind, *, scale: bool = False) -> None:
        super().__init__()
        width = max(channels // 2, 1)
        self.kind = kind
        self.factor = width**-0.5 if scale else 1.0
        self.g = nn.Conv3d(channels, width, 1)
        if kind != "gaussian":
            self.theta = nn.Conv3d(channels, width, 1)
            self.phi = nn.Conv3d(channels, width, 1)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.out = nn.Conv3d(width, channels, 1, bias=False)
        self.bn = nn.BatchNorm3d(channels)
        for convolution in (module for module in self.children() if isinstance(module, nn.Conv3d)):
            nn.init.normal_(convolution.weight, std=0.01)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> the same shape."""
        embeds = self.kind != "gaussian"
        queries = _as_rows(self.theta(x) if embeds else x)
        keys = _as_rows(self.pool(self.phi(x) if embeds else x))
        values = _as_rows(self.pool(self.g(x)))
        if self.kind == "dot_product":
            # Without a softmax keys may meet values first: D x D numbers instead of one for each pair of places.
            gathered = queries @ (keys.mT @ values / keys.shape[1])
        else:
            gathered = scaled_dot_product_attention(queries, keys, values, scale=self.factor)
        maps = gathered.mT.reshape(x.shape[0], -1, *x.shape[2:])
        result: Tensor = x + self.bn(self.out(maps))
        return result


def _as_rows(maps: Tensor) -> Tensor:
    """``(B, D, T, H, W)`` -> ``(B, T * H * W, D)``."""
    return maps.flatten(2).mT


NON_LOCAL_KEYS = (
    (r"\.non_local_block\.conv_out\.conv\.", ".non_local.out."),
    (r"\.non_local_block\.conv_out\.bn\.", ".non_local.bn."),
    (r"\.non_local_block\.(g|theta|phi)\.(?:0\.)?conv\.", r".non_local.\1."),
)
"""Rules for ``rename_keys``, from mmcv's names to a ``NonLocal3d`` that its block calls ``non_local``."""
