"""CSN: a 3D ResNet whose 3x3x3 convolutions see one channel each; 1x1x1 convolutions mix the channels.

Source: arXiv 1904.02811. Numbers compared with ResNet3dCSN and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from kinoray.models.layers.resnet3d import (
    Bottleneck3d,
    ConvNorm3d,
    ResNet3d,
    TimeStrides,
    init_resnet3d,
    set_norm_eps,
)
from kinoray.models.pooled import PooledConfig, PooledResNet3d

CsnDepth = Literal[50, 101, 152]
Interactions = Literal["reduced", "preserved"]


class CSN(PooledResNet3d):
    """Channel-separated network; time shrinks to an eighth, in the last three stages.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C.
        std: one per channel, grey levels.
        depth: layers with weights in the network whose bottlenecks these are.
        width: channels of the stem.
        interactions: between channels: ``preserved`` mixes them in a 1x1x1 convolution before each separated one
            (ip-CSN), ``reduced`` leaves that to the rest of the block (ir-CSN).
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        depth: CsnDepth = 50,
        width: int = 64,
        interactions: Interactions = "reduced",
        dropout: float = 0.5,
    ) -> None:
        backbone = ResNet3d(
            depth,
            in_channels=len(mean),
            width=width,
            stem_kernel=(3, 7, 7),
            inflate=(False, False, False, False),
            time_strides=TimeStrides(stages=(1, 2, 2, 2)),
        )
        for block in backbone.modules():
            if isinstance(block, Bottleneck3d):
                whole = block.conv2.get_submodule("conv")
                assert isinstance(whole, nn.Conv3d)
                block.conv2 = _separated(whole, interactions)
        set_norm_eps(backbone, 1e-3)
        init_resnet3d(backbone, zero_init_residual=False)
        super().__init__(backbone, num_classes=num_classes, mean=mean, std=std, dropout=dropout)


def _separated(whole: nn.Conv3d, interactions: Interactions) -> nn.Sequential:
    """What takes the place of a bottleneck's middle convolution: of its channels and stride, but 3x3x3."""
    channels = whole.out_channels
    stride = (whole.stride[0], whole.stride[1], whole.stride[2])
    alone = ConvNorm3d(channels, channels, (3, 3, 3), stride=stride, groups=channels)
    if interactions == "reduced":
        return nn.Sequential(alone)
    return nn.Sequential(ConvNorm3d(channels, channels, (1, 1, 1), relu=False), alone)


class CSNConfig(PooledConfig):
    r"""Settings of CSN.

    The published recipes freeze all batch norms, weights and statistics: ``training.freeze: ['\.bn\.']``.
    """

    kind: str = "csn"
    depth: CsnDepth = 50
    interactions: Interactions = "reduced"
    """Between channels: preserved by a 1x1x1 convolution before each separated one (ip-CSN), or reduced (ir-CSN)."""

    def build(self) -> CSN:
        return CSN(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            depth=self.depth,
            width=self.width,
            interactions=self.interactions,
            dropout=self.dropout,
        )


def ircsn_r50(num_classes: int = 400) -> CSN:
    """13.1 M parameters; trained on 32 frames, 2 apart.

    Source: MMAction2's ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1-58e.
    """
    return CSNConfig(num_classes=num_classes).build()


def ircsn_r152(num_classes: int = 400) -> CSN:
    """29.7 M parameters; trained on 32 frames, 2 apart.

    Source: arXiv 1904.02811, table 6; MMAction2's ircsn_r152_32x2x1-180e.
    """
    return CSNConfig(num_classes=num_classes, depth=152).build()


def ipcsn_r152(num_classes: int = 400) -> CSN:
    """33.0 M parameters; trained on 32 frames, 2 apart.

    Source: arXiv 1904.02811, table 6; MMAction2's ipcsn_r152_32x2x1-180e.
    """
    return CSNConfig(num_classes=num_classes, depth=152, interactions="preserved").build()
