"""2s-AGCN: a graph convolution whose graphs are learned, for all skeletons and for each; AAGCN adds attention.

A network is one stream, of joints or of bones; the paper's two streams are two networks whose scores are added.

Source: arXiv 1805.07694 (2s-AGCN), 1912.06971 (AAGCN). Numbers compared with AAGCN and GCNHead of MMAction2 at 4d6c934.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from kinoray.models.graph_recognizer import MMACTION2_KEYS, GraphConfig, GraphRecognizer
from kinoray.models.layers.graphs import Partition, adjacency
from kinoray.models.layers.skeleton import (
    CoordinateNorm,
    SkeletonBlock,
    TimeConv,
    block_shortcut,
    block_sizes,
)
from kinoray.models.weights import KeyRules
from kinoray.transforms.poses import Joints

EMBED_RATIO = 4
"""How many times narrower the features are by which joints are compared."""


class AdaptiveGraphConv(nn.Module):
    """Each joint becomes a sum over all, by S learned graphs and, added to them, by how alike two joints move.

    Args:
        in_channels: C.
        out_channels: C'.
        graphs: ``(S, V, V)``, where the learned graphs start.
        attention: whether the result is weighted by joint, frame and channel.
    """

    def __init__(self, in_channels: int, out_channels: int, graphs: Tensor, *, attention: bool) -> None:
        super().__init__()
        num_graphs, embedded = len(graphs), out_channels // EMBED_RATIO
        self.graphs = nn.Parameter(graphs.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.theta = _convs(num_graphs, in_channels, embedded)
        self.phi = _convs(num_graphs, in_channels, embedded)
        self.values = _convs(num_graphs, in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("conv", _conv(in_channels, out_channels))
            self.shortcut.add_module("bn", nn.BatchNorm2d(out_channels))
        self.attention = JointFrameChannel(out_channels, graphs.shape[-1]) if attention else nn.Identity()
        for conv in self.values:
            assert isinstance(conv, nn.Conv2d)
            nn.init.normal_(conv.weight, std=math.sqrt(2 / (conv.weight.numel() * num_graphs)))
        nn.init.constant_(self.bn.weight, 1e-6)  # at the start every block is its shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, V)`` -> ``(B, C', T, V)``."""
        summed = torch.stack([self._one_graph(x, index) for index in range(len(self.graphs))]).sum(0)
        y: Tensor = self.attention(torch.relu(self.bn(summed) + self.shortcut(x)))
        return y

    def _one_graph(self, x: Tensor, index: int) -> Tensor:
        queries = self.theta[index](x).flatten(1, 2)
        keys = self.phi[index](x).flatten(1, 2)
        alike = torch.tanh(queries.mT @ keys / queries.shape[1])
        neighbours = x.flatten(1, 2) @ (self.graphs[index] + alike * self.alpha)
        z: Tensor = self.values[index](neighbours.view_as(x))
        return z


class JointFrameChannel(nn.Module):
    """Add to features their product with a gate for each joint, then each frame, then each channel."""

    def __init__(self, channels: int, num_joints: int) -> None:
        super().__init__()
        kernel = num_joints if num_joints % 2 else num_joints - 1
        self.joint = nn.Conv1d(channels, 1, kernel, padding=kernel // 2)
        self.frame = nn.Conv1d(channels, 1, 9, padding=4)
        self.squeeze = nn.Linear(channels, channels // 2)
        self.excite = nn.Linear(channels // 2, channels)
        nn.init.xavier_normal_(self.joint.weight)
        nn.init.zeros_(self.frame.weight)
        nn.init.kaiming_normal_(self.squeeze.weight)
        nn.init.zeros_(self.excite.weight)
        for layer in (self.joint, self.frame, self.squeeze, self.excite):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, V)`` -> the same shape."""
        x = x + x * torch.sigmoid(self.joint(x.mean(2)))[:, :, None]
        x = x + x * torch.sigmoid(self.frame(x.mean(3)))[..., None]
        gates = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return x + x * gates[..., None, None]


def _convs(num_graphs: int, in_channels: int, out_channels: int) -> nn.ModuleList:
    return nn.ModuleList(_conv(in_channels, out_channels) for _ in range(num_graphs))


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class AGCN(GraphRecognizer):
    """Ten blocks over joints and frames.

    Args:
        num_classes: K.
        layout: whose joints.
        partition: where the learned graphs start, see ``adjacency``.
        attention: AAGCN, which weights joints, frames and channels.
        num_persons: P, whose coordinates are each normalized on their own.
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
        partition: Partition = "spatial",
        attention: bool = False,
        num_persons: int = 2,
        in_channels: int = 3,
        width: int = 64,
        num_blocks: int = 10,
        halving: Sequence[int] = (5, 8),
        dropout: float = 0.0,
    ) -> None:
        graphs = adjacency(layout, partition)
        sizes = block_sizes(in_channels, width, num_blocks, halving)
        blocks = [
            SkeletonBlock(
                AdaptiveGraphConv(size.in_channels, size.channels, graphs, attention=attention),
                TimeConv(size.channels, size.channels, stride=size.stride),
                block_shortcut(size, is_first=index == 0),
            )
            for index, size in enumerate(sizes)
        ]
        norm = CoordinateNorm(in_channels, graphs.shape[-1], num_persons)
        super().__init__(norm, blocks, num_classes=num_classes, width=sizes[-1].channels, dropout=dropout)

    def key_rules(self) -> Mapping[str, KeyRules]:
        own: KeyRules = (
            (r"\.gcn\.A$", ".gcn.graphs"),
            (r"\.gcn\.conv_a\.", ".gcn.theta."),
            (r"\.gcn\.conv_b\.", ".gcn.phi."),
            (r"\.gcn\.conv_d\.", ".gcn.values."),
            (r"\.gcn\.conv_sa\.", ".gcn.attention.joint."),
            (r"\.gcn\.conv_ta\.", ".gcn.attention.frame."),
            (r"\.gcn\.fc1c\.", ".gcn.attention.squeeze."),
            (r"\.gcn\.fc2c\.", ".gcn.attention.excite."),
        )
        return {"MMAction2": (*own, *MMACTION2_KEYS)}


class AGCNConfig(GraphConfig):
    """Settings of one stream of 2s-AGCN."""

    kind: str = "agcn"
    partition: Partition = "spatial"
    """Where the learned graphs start, see ``stgcn``."""
    attention: bool = False
    """AAGCN, which also weights joints, frames and channels."""
    num_persons: int = Field(2, gt=0)
    """Persons of a view; the coordinates of each are normalized on their own."""
    width: int = Field(64, gt=0, multiple_of=4)
    """Channels of the first block; 64 in the published networks."""

    def build(self) -> AGCN:
        return AGCN(
            num_classes=self.num_classes,
            layout=self.layout,
            partition=self.partition,
            attention=self.attention,
            num_persons=self.num_persons,
            in_channels=self.in_channels,
            width=self.width,
            num_blocks=self.num_blocks,
            halving=self.halving,
            dropout=self.dropout,
        )


def agcn_2d(num_classes: int = 60) -> AGCN:
    """3.5 M parameters; sees 100 frames of two persons' 17 joints.

    Source: arXiv 1805.07694; MMAction2's 2s-agcn_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.
    """
    return AGCNConfig(num_classes=num_classes).build()
