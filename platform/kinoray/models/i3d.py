"""I3D: a 2D ResNet whose kernels are inflated, every other block reaching over three frames; perhaps non-local.

Source: arXiv 1705.07750 (inflation), 1711.07971 (this ResNet, and the non-local blocks). Numbers compared with
ResNet3d, NonLocal3d and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt

from kinoray.models.layers.non_local import NonLocalKind
from kinoray.models.layers.resnet3d import STAGES, Depth, ResNet3d, TimeStrides, add_non_local, init_resnet3d
from kinoray.models.pooled import InflatedConfig, InflatedResNet3d
from kinoray.models.pretrained import load_pretrained

InflatedBlocks = Literal["alternate", "all"]

# Which blocks of the second and third stage a non-local one follows.
_NON_LOCAL_AFTER = (1, 3, 5)


class I3D(InflatedResNet3d):
    """Inflated 3D ResNet; of 32 frames four places in time are left. A clip needs at least 5 frames.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C (3 for RGB, 2 for one flow field).
        std: one per channel, grey levels.
        depth: layers with weights.
        width: channels of the stem.
        inflate: which blocks reach over time: every other one, all of the first stage, or all.
        stem_time_strides: over how many frames the stem's convolution and its pooling step; then comes one over 2.
        non_local: kind of the five non-local blocks; none is a network without.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        depth: Depth = 50,
        width: int = 64,
        inflate: InflatedBlocks = "alternate",
        stem_time_strides: tuple[int, int] = (2, 2),
        non_local: NonLocalKind | None = None,
        dropout: float = 0.5,
    ) -> None:
        first, second, third, last = STAGES[depth][1]
        alternate = ((True,) * first, _every_other(second), _every_other(third), _every_other(last, start=1))
        backbone = ResNet3d(
            depth,
            in_channels=len(mean),
            width=width,
            stem_kernel=(5, 7, 7),
            inflate=alternate if inflate == "alternate" else (True, True, True, True),
            time_strides=TimeStrides(*stem_time_strides, pool2=2),
        )
        init_resnet3d(backbone, zero_init_residual=False)
        if non_local is not None:
            add_non_local(backbone, non_local, blocks=_NON_LOCAL_AFTER)
        super().__init__(backbone, num_classes=num_classes, mean=mean, std=std, dropout=dropout)


def _every_other(num_blocks: int, *, start: int = 0) -> tuple[bool, ...]:
    return tuple(number % 2 == start for number in range(num_blocks))


class I3DConfig(InflatedConfig):
    """Settings of I3D."""

    kind: str = "i3d"
    inflate: InflatedBlocks = "alternate"
    """Which blocks reach over time: every other one, or all, as MMAction2's "heavy" network has it."""
    stem_time_strides: tuple[PositiveInt, PositiveInt] = (2, 2)
    """Over how many frames the stem's convolution and its pooling step; 1 and 1 in the heavy network."""
    non_local: NonLocalKind | None = None
    """Five non-local blocks of that kind: dot_product, embedded_gaussian or gaussian; none is a network without."""

    def build(self) -> I3D:
        model = I3D(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            depth=self.depth,
            width=self.width,
            inflate=self.inflate,
            stem_time_strides=self.stem_time_strides,
            non_local=self.non_local,
            dropout=self.dropout,
        )
        load_pretrained(model, self.source(), self.inflation)
        return model


def i3d_r50(num_classes: int = 400) -> I3D:
    """28.0 M parameters; trained on 32 frames, two apart.

    Source: MMAction2's i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e.
    """
    return I3DConfig(num_classes=num_classes).build()
