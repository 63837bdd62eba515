"""ST-GCN: convolutions over the joints of a skeleton along its bones, and over time; and ST-GCN++, its revision.

Source: arXiv 1801.07455 (ST-GCN), 2205.09443 (ST-GCN++). Numbers compared with STGCN and GCNHead of MMAction2 at
4d6c934.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kinoray.models.graph_recognizer import MMACTION2_KEYS, GraphConfig, GraphRecognizer
from kinoray.models.layers.graphs import Partition, adjacency
from kinoray.models.layers.skeleton import (
    CoordinateNorm,
    ManyScaleTimeConv,
    SkeletonBlock,
    TimeConv,
    block_shortcut,
    block_sizes,
)
from kinoray.models.weights import KeyRules
from kinoray.transforms.poses import Joints

Adaptive = Literal["fixed", "importance", "offset", "free"]
TimeScales = Literal["one", "many"]


class GraphConv(nn.Module):
    """Each joint becomes a sum over its neighbours, with weights of their own in each of S graphs.

    Args:
        in_channels: C.
        out_channels: C'.
        graphs: ``(S, V, V)``, see ``adjacency``.
        adaptive: what is learned of the graphs: nothing; a factor for each pair of joints (importance); what is added
            to it (offset); or all of it, from the given graphs on (free).
        residual: whether the input is added, through a convolution where channels differ.
    """

    def __init__(
        self, in_channels: int, out_channels: int, graphs: Tensor, *, adaptive: Adaptive, residual: bool
    ) -> None:
        super().__init__()
        self.adaptive = adaptive
        if adaptive == "free":
            self.graphs = nn.Parameter(graphs.clone())
        else:
            self.register_buffer("graphs", graphs, persistent=False)
        if adaptive == "importance":
            self.learned = nn.Parameter(torch.ones_like(graphs))
        elif adaptive == "offset":
            self.learned = nn.Parameter(torch.empty_like(graphs).uniform_(-1e-6, 1e-6))
        self.conv = nn.Conv2d(in_channels, out_channels * len(graphs), 1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module | None = None
        if residual and in_channels == out_channels:
            self.shortcut = nn.Identity()
        elif residual:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("conv", nn.Conv2d(in_channels, out_channels, 1))
            self.shortcut.add_module("bn", nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, V)`` -> ``(B, C', T, V)``."""
        graphs = self._graphs_now()
        maps = self.conv(x).unflatten(1, (len(graphs), -1))
        y: Tensor = self.bn(torch.einsum("bsctv,svw->bctw", maps, graphs))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))

    def _graphs_now(self) -> Tensor:
        if self.adaptive == "importance":
            return self.graphs * self.learned
        return self.graphs + self.learned if self.adaptive == "offset" else self.graphs


class STGCN(GraphRecognizer):
    """Ten blocks over joints and frames.

    Args:
        num_classes: K.
        layout: whose joints.
        partition: how neighbours are told apart, see ``adjacency``.
        adaptive: what is learned of the graphs, see ``GraphConv``.
        joint_residual: whether each convolution over joints also has a way around it.
        time_scales: one convolution over 9 frames, or several side by side.
        in_channels: C, coordinates of a joint.
        width: channels of the first block.
        num_blocks: of the network.
        halving: numbers of blocks, counted from 1, that halve the frames and double the channels.
        dropout: share of the averaged features dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        layout: Joints = "coco",
        partition: Partition = "stgcn_spatial",
        adaptive: Adaptive = "importance",
        joint_residual: bool = False,
        time_scales: TimeScales = "one",
        in_channels: int = 3,
        width: int = 64,
        num_blocks: int = 10,
        halving: Sequence[int] = (5, 8),
        dropout: float = 0.0,
    ) -> None:
        graphs = adjacency(layout, partition)
        sizes = block_sizes(in_channels, width, num_blocks, halving)
        blocks = []
        for index, size in enumerate(sizes):
            gcn = GraphConv(size.in_channels, size.channels, graphs, adaptive=adaptive, residual=joint_residual)
            tcn = (
                TimeConv(size.channels, size.channels, stride=size.stride)
                if time_scales == "one"
                else ManyScaleTimeConv(size.channels, stride=size.stride)
            )
            blocks.append(SkeletonBlock(gcn, tcn, block_shortcut(size, is_first=index == 0)))
        norm = CoordinateNorm(in_channels, graphs.shape[-1], None)
        super().__init__(norm, blocks, num_classes=num_classes, width=sizes[-1].channels, dropout=dropout)
        self.adaptive = adaptive

    def key_rules(self) -> Mapping[str, KeyRules]:
        graphs = r"^(backbone\.gcn\.\d+\.gcn)\.A$"
        own: KeyRules = (
            (graphs, r"\1.graphs" if self.adaptive == "free" else ()),
            (r"^(backbone\.gcn\.\d+\.gcn)\.PA$", r"\1.learned"),
        )
        return {"MMAction2": (*own, *MMACTION2_KEYS)}


class STGCNConfig(GraphConfig):
    """Settings of ST-GCN."""

    kind: str = "stgcn"
    partition: Partition = "stgcn_spatial"
    """How neighbours are told apart: by their distances from the centre, by the bones alone (spatial), not at all."""
    adaptive: Adaptive = "importance"
    """What is learned of the graphs: nothing (fixed), a factor (importance) or summand (offset) for each pair of
    joints, or all of it, from the skeleton on (free)."""
    joint_residual: bool = False
    """Each convolution over joints also has a way around it."""
    time_scales: TimeScales = "one"
    """One convolution over 9 frames, or six branches of several reaches."""
    width: int = Field(64, ge=6)
    """Channels of the first block; 64 in the published networks."""

    def build(self) -> STGCN:
        return STGCN(
            num_classes=self.num_classes,
            layout=self.layout,
            partition=self.partition,
            adaptive=self.adaptive,
            joint_residual=self.joint_residual,
            time_scales=self.time_scales,
            in_channels=self.in_channels,
            width=self.width,
            num_blocks=self.num_blocks,
            halving=self.halving,
            dropout=self.dropout,
        )


class STGCNPPConfig(STGCNConfig):
    """Settings of ST-GCN++: the same network with graphs that are learned, and with several reaches in time."""

    kind: str = "stgcnpp"
    partition: Partition = "spatial"
    """How neighbours are told apart: by the bones alone, by their distances from the centre, not at all."""
    adaptive: Adaptive = "free"
    """What is learned of the graphs, see ``stgcn``."""
    joint_residual: bool = True
    """Each convolution over joints also has a way around it."""
    time_scales: TimeScales = "many"
    """One convolution over 9 frames, or six branches of several reaches."""


def stgcn_2d(num_classes: int = 60) -> STGCN:
    """3.1 M parameters; sees 100 frames of two persons' 17 joints.

    Source: MMAction2's stgcn_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.
    """
    return STGCNConfig(num_classes=num_classes).build()


def stgcnpp_2d(num_classes: int = 60) -> STGCN:
    """1.4 M parameters; sees 100 frames of two persons' 17 joints.

    Source: arXiv 2205.09443; MMAction2's stgcnpp_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.
    """
    return STGCNPPConfig(num_classes=num_classes).build()
