"""What ST-GCN and 2s-AGCN have in common: blocks over the joints of a skeleton, whose features are averaged and scored.

Source: arXiv 1801.07455. Numbers compared with RecognizerGCN and GCNHead of MMAction2 at 4d6c934.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import RecognizerConfig
from kinoray.models.layers.classifier import classifier
from kinoray.models.layers.skeleton import CoordinateNorm, SkeletonBlock
from kinoray.models.weights import KeyRules
from kinoray.transforms.poses import Joints

MMACTION2_KEYS: KeyRules = (
    (r"^backbone\.data_bn\.", "norm.bn."),
    # What the published networks hold of the graph besides what is learned; here it is built, not loaded.
    (r"^backbone\.A$", ()),
    (r"^backbone\.gcn\.", "blocks."),
    (r"\.tcn\.transform\.0\.", ".tcn.mix.bn."),
    (r"\.tcn\.transform\.2\.", ".tcn.mix.conv."),
    (r"\.tcn\.branches\.(\d)\.0\.", r".tcn.branches.\1.reduce."),
    (r"\.tcn\.branches\.(\d)\.1\.", r".tcn.branches.\1.bn."),
    (r"\.tcn\.branches\.(\d)\.3\.conv\.", r".tcn.branches.\1.time."),
    (r"\.down\.0\.", ".shortcut.conv."),
    (r"\.down\.1\.", ".shortcut.bn."),
    (r"\.residual\.", ".shortcut."),
    (r"^cls_head\.fc\.", "fc."),
)
"""Rules for ``rename_keys``, from MMAction2's checkpoints of networks of graphs to a ``GraphRecognizer``."""


class GraphRecognizer(Recognizer):
    """Blocks over the joints of each person, the mean over joints, frames and persons, and a linear classifier.

    Args:
        norm: of the coordinates.
        blocks: one after the other.
        num_classes: K.
        width: D, channels of the last block.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self, norm: CoordinateNorm, blocks: Sequence[SkeletonBlock], *, num_classes: int, width: int, dropout: float
    ) -> None:
        super().__init__(num_classes=num_classes)
        self.norm = norm
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.fc = classifier(width, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, P, T, V, C)`` -> ``(B, P, D, t, V)``."""
        features: Tensor = self.blocks(self.norm(clips))
        return features.view(*clips.shape[:2], *features.shape[1:])

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, P, D, t, V)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features.mean(dim=(1, 3, 4))))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"MMAction2": MMACTION2_KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[block] for block in self.blocks]


class GraphConfig(RecognizerConfig):
    """What networks of graphs are told alike."""

    views = "skeleton"

    layout: Joints = "coco"
    """Whose joints: coco (17), nturgb+d (25, in three dimensions) or openpose (18)."""
    in_channels: int = Field(3, gt=0)
    """Numbers that a joint has: x, y and z, or x, y and the detector's confidence."""
    width: int = Field(64, gt=0)
    """Channels of the first block; 64 in the published networks."""
    num_blocks: int = Field(10, gt=0)
    """10 in the published networks."""
    halving: tuple[int, ...] = (5, 8)
    """Numbers of the blocks, counted from 1, that halve the frames and double the channels."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the averaged features dropped in training."""
