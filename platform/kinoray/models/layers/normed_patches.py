"""Patches whose channels are normalized, as hierarchical transformers cut them."""

from torch import Tensor, nn

from kinoray.models.layers.transformer import PatchEmbedding

Size3 = tuple[int, int, int]


class NormedPatches(PatchEmbedding):
    """Cut clips or maps into boxes and make each a token, and normalize it.

    Args:
        in_channels: C.
        width: D.
        kernel: frames, height and width of a box.
        stride: from one box to the next; none is the kernel.
        padding: zeros around the clip.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        kernel: Size3,
        stride: Size3 | None = None,
        padding: Size3 = (0, 0, 0),
    ) -> None:
        super().__init__(in_channels, width, kernel=kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(width)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, t, h, w, D)``, as many as there are places for the kernel."""
        tokens: Tensor = self.norm(super().forward(clips))
        return tokens
