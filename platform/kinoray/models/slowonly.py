"""SlowOnly: SlowFast's slow pathway alone; only the last two stages reach over time, and time keeps its length.

OmniSource's network is the same, trained on web images and videos too.

Source: arXiv 1812.03982, 2003.13042 (OmniSource), 1711.07971 (non-local blocks). Numbers compared with
ResNet3dSlowOnly, OmniResNet and I3DHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence

from kinoray.models.layers.non_local import NonLocalKind
from kinoray.models.layers.resnet3d import (
    MMACTION2_KEYS,
    Depth,
    ResNet3d,
    add_non_local,
    init_resnet3d,
    rules_from_resnet2d,
)
from kinoray.models.pooled import InflatedConfig, InflatedResNet3d
from kinoray.models.pretrained import load_pretrained
from kinoray.models.weights import KeyRules

OMNISOURCE_KEYS: KeyRules = ((r"^backbone\.", ""), *rules_from_resnet2d("backbone"), *MMACTION2_KEYS)
"""Rules for ``rename_keys``, from MMAction2's OmniSource checkpoints, whose layers are called as torchvision's."""

# Which blocks of the second and third stage a non-local one follows.
_NON_LOCAL_AFTER = (0, 2, 4)


class SlowOnly(InflatedResNet3d):
    """3D ResNet that sees few frames far apart; any number of frames will do.

    Args:
        num_classes: K.
        mean: one per channel, grey levels; its length is C (3 for RGB, 2 for a flow field).
        std: one per channel, grey levels.
        depth: layers with weights.
        width: channels of the stem.
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
        non_local: NonLocalKind | None = None,
        dropout: float = 0.5,
    ) -> None:
        backbone = slowonly_backbone(depth, in_channels=len(mean), width=width)
        if non_local is not None:
            add_non_local(backbone, non_local, blocks=_NON_LOCAL_AFTER, scale=True)
        super().__init__(backbone, num_classes=num_classes, mean=mean, std=std, dropout=dropout)

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {**super().key_rules(), "OmniSource": OMNISOURCE_KEYS}


def slowonly_backbone(depth: Depth, *, in_channels: int, width: int) -> ResNet3d:
    """The 3D ResNet whose last two stages alone reach over time, with fresh weights."""
    backbone = ResNet3d(
        depth, in_channels=in_channels, width=width, stem_kernel=(1, 7, 7), inflate=(False, False, True, True)
    )
    init_resnet3d(backbone, zero_init_residual=True)
    return backbone


class SlowOnlyConfig(InflatedConfig):
    """Settings of SlowOnly."""

    kind: str = "slowonly"
    non_local: NonLocalKind | None = None
    """Five non-local blocks of that kind: dot_product, embedded_gaussian or gaussian; none is a network without."""

    def build(self) -> SlowOnly:
        model = SlowOnly(
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            depth=self.depth,
            width=self.width,
            non_local=self.non_local,
            dropout=self.dropout,
        )
        load_pretrained(model, self.source(), self.inflation)
        return model


def slowonly_r50(num_classes: int = 400) -> SlowOnly:
    """32.5 M parameters; trained on 4 frames, 16 apart, or on 8, 8 apart.

    Source: MMAction2's slowonly_r50_8xb16-8x8x1-256e.
    """
    return SlowOnlyConfig(num_classes=num_classes).build()
