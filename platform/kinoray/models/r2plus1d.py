"""R(2+1)D: a 3D ResNet in which every convolution is one over space, then one over time.

Source: arXiv 1711.11248. Numbers compared with ResNet2Plus1d, Conv2plus1d and I3DHead of MMAction2 at 4d6c934, which
also splits the 1x1x1 convolutions of shortcuts.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kinoray.models.layers.resnet3d import ConvNorm3d, Depth, ResNet3d, TimeStrides, init_resnet3d, set_norm_eps
from kinoray.models.pooled import PooledConfig, PooledResNet3d

_NUM_FRAMES = 3  # that the networks of the paper reach over; the formula has it for shortcuts of one frame too


class Conv2Plus1d(nn.Module):
    """A 3D convolution split in two, with about as many weights, a batch norm and a ReLU between the halves.

    Args:
        whole: what is split; its weights are not used.

    Source: arXiv 1711.11248, section 3.5.
    """

    def __init__(self, whole: nn.Conv3d) -> None:
        super().__init__()
        channels, out_channels = whole.in_channels, whole.out_channels
        (frames, height, width), (step_t, step_h, step_w) = whole.kernel_size, whole.stride
        per_input, per_output = channels * height * width, _NUM_FRAMES * out_channels
        middle = per_input * per_output // (per_input + per_output)
        self.conv_s = nn.Conv3d(
            channels,
            middle,
            (1, height, width),
            stride=(1, step_h, step_w),
            padding=(0, height // 2, width // 2),
            bias=False,
        )
        self.bn_s = nn.BatchNorm3d(middle)
        self.relu = nn.ReLU(inplace=True)
        self.conv_t = nn.Conv3d(
            middle,
            out_channels,
            (frames, 1, 1),
            stride=(step_t, 1, 1),
            padding=(frames // 2, 0, 0),
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, C', T / t, H / h, W / w)`` for the whole's stride ``(t, h, w)``."""
        maps: Tensor = self.conv_t(self.relu(self.bn_s(self.conv_s(x))))
        return maps


class R2Plus1D(PooledResNet3d):
    """ResNet of (2+1)D convolutions; time shrinks to an eighth, in the last three stages.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        depth: layers with weights; 34 in the published network.
        width: channels of the stem.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        depth: Depth = 34,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        backbone = ResNet3d(
            depth,
            in_channels=len(mean),
            width=width,
            stem_kernel=(3, 7, 7),
            inflate=(True, True, True, True),
            time_strides=TimeStrides(stages=(1, 2, 2, 2)),
        )
        set_norm_eps(backbone, 1e-3)  # but the norms between the halves keep PyTorch's, as in the reference
        for module in list(backbone.modules()):
            if isinstance(module, ConvNorm3d) and isinstance(module.conv, nn.Conv3d):
                module.conv = Conv2Plus1d(module.conv)
        init_resnet3d(backbone, zero_init_residual=False)
        super().__init__(backbone, num_classes=num_classes, mean=mean, std=std, dropout=dropout)


class R2Plus1DConfig(PooledConfig):
    """Settings of R(2+1)D."""

    kind: str = "r2plus1d"
    depth: Depth = 34

    def build(self) -> R2Plus1D:
        return R2Plus1D(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            depth=self.depth,
            width=self.width,
            dropout=self.dropout,
        )


def r2plus1d_r34(num_classes: int = 400) -> R2Plus1D:
    """63.8 M parameters; trained on 8 frames, 8 apart, or on 32, 2 apart.

    Source: arXiv 1711.11248, table 1; MMAction2's r2plus1d_r34_8xb8-8x8x1-180e.
    """
    return R2Plus1DConfig(num_classes=num_classes).build()
