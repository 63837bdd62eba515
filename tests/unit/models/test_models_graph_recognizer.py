"""Networks of skeletons: graphs, layers, and what holds for ST-GCN, ST-GCN++ and 2s-AGCN alike."""

from typing import Any, get_args

import pytest
import torch

from kinoray.models.agcn import AdaptiveGraphConv, JointFrameChannel
from kinoray.models.graph_recognizer import GraphConfig, GraphRecognizer
from kinoray.models.kinds import MODELS
from kinoray.models.layers.graphs import TOWARDS_CENTRE, Partition, adjacency
from kinoray.models.layers.skeleton import BlockSize, CoordinateNorm, ManyScaleTimeConv, TimeConv, block_sizes
from kinoray.models.stgcn import GraphConv
from kinoray.transforms.poses import NUM_JOINTS, Joints

LAYOUTS: tuple[Joints, ...] = get_args(Joints)
SMALL: dict[str, Any] = {"num_classes": 5, "width": 12, "num_blocks": 3, "halving": (2,)}


def graph_recognizer(kind: str, **settings: Any) -> GraphRecognizer:
    config = MODELS.validate({"kind": kind, **SMALL, **settings})
    assert isinstance(config, GraphConfig)
    torch.manual_seed(0)
    model = config.build()
    assert isinstance(model, GraphRecognizer)
    return model.eval()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("partition", get_args(Partition))
def test_graphs_join_neighbours_and_no_one_else(layout: Joints, partition: Partition) -> None:
    graphs = adjacency(layout, partition)
    towards = TOWARDS_CENTRE[layout]
    bones = {frozenset((joint, other)) for joint, other in enumerate(towards) if joint != other}

    assert len(towards) == NUM_JOINTS[layout]
    assert len(bones) == NUM_JOINTS[layout] - 1
    assert graphs.shape == (1 if partition == "binary_adj" else 3, len(towards), len(towards))
    assert graphs.dtype == torch.float32
    assert (graphs >= 0).all()
    joined = {frozenset(pair) for pair in graphs.sum(0).nonzero().tolist()}
    assert {pair for pair in joined if len(pair) == 2} == bones
    assert any(len(pair) == 1 for pair in joined) == (partition != "binary_adj")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_partitions(layout: Joints) -> None:
    num_joints = NUM_JOINTS[layout]
    myself, outward, inward = adjacency(layout, "spatial")
    assert torch.equal(myself, torch.eye(num_joints))
    for graph in (outward, inward):
        sums = graph.sum(0)
        assert torch.allclose(sums[sums > 0], torch.ones(1))
    assert int((inward.sum(0) == 0).sum()) + int((outward.sum(0) == 0).sum()) >= 2  # the centre, and all ends
    assert torch.allclose(adjacency(layout, "stgcn_spatial").sum((0, 1)), torch.ones(num_joints))
    (binary,) = adjacency(layout, "binary_adj")
    assert torch.equal(binary, binary.T)


def test_a_graph_convolution_listens_along_the_graph() -> None:
    graphs = torch.zeros(1, 3, 3)
    graphs[0, 0, 2] = 1  # joint 2 hears of joint 0
    layer = GraphConv(4, 6, graphs, adaptive="fixed", residual=False).eval()
    x = torch.rand(1, 4, 5, 3)
    before = layer(x)
    x[..., 1] = 7
    assert torch.equal(layer(x), before)
    x[..., 0] = 7
    changed = (layer(x) != before).any(dim=(0, 1, 2))
    assert changed.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("adaptive", "learned"),
    [("fixed", set()), ("importance", {"learned"}), ("offset", {"learned"}), ("free", {"graphs"})],
)
def test_what_is_learned_of_the_graphs(adaptive: Any, learned: set[str]) -> None:
    graphs = adjacency("coco", "spatial")
    layer = GraphConv(4, 4, graphs, adaptive=adaptive, residual=True).eval()
    assert {name for name, _ in layer.named_parameters() if "." not in name} == learned
    fixed = GraphConv(4, 4, graphs, adaptive="fixed", residual=True).eval()
    fixed.load_state_dict(layer.state_dict(), strict=False)
    x = torch.rand(2, 4, 3, 17)
    torch.testing.assert_close(layer(x), fixed(x), atol=1e-4, rtol=1e-4)  # so it starts


def test_an_adaptive_block_starts_as_its_shortcut() -> None:
    layer = AdaptiveGraphConv(8, 8, adjacency("coco", "spatial"), attention=False).eval()
    x = torch.rand(2, 8, 4, 17)
    torch.testing.assert_close(layer(x), x, atol=1e-4, rtol=1e-4)


def test_attention_keeps_the_shape() -> None:
    x = torch.rand(2, 8, 4, 25)
    y = JointFrameChannel(8, 25)(x)
    assert y.shape == x.shape
    assert (y >= x).all()  # what is added is a share of what is there


@pytest.mark.parametrize("num_frames", [7, 8, 9, 100])
@pytest.mark.parametrize("stride", [1, 2])
def test_looks_over_time_agree_in_length(num_frames: int, stride: int) -> None:
    x = torch.rand(1, 12, num_frames, 17)
    one, many = TimeConv(12, 12, stride=stride)(x), ManyScaleTimeConv(12, stride=stride)(x)
    around = TimeConv(12, 12, 1, stride=stride)(x)
    assert one.shape == many.shape == around.shape == (1, 12, -(-num_frames // stride), 17)


def test_a_norm_knows_joints_and_if_told_persons() -> None:
    skeletons = torch.rand(3, 2, 5, 17, 3)
    assert CoordinateNorm(3, 17, None).bn.num_features == 51
    told = CoordinateNorm(3, 17, 2).train()
    assert told.bn.num_features == 102
    y = told(skeletons)
    assert y.shape == (6, 3, 5, 17)
    series = y.view(3, 2, 3, 5, 17)
    torch.testing.assert_close(series.mean(dim=(0, 3)), torch.zeros(2, 3, 17), atol=1e-5, rtol=0)
    x = told.eval()(skeletons).view(3, 2, 3, 5, 17)
    torch.testing.assert_close(
        x[1, 0, 2, :, 4].diff(),
        (skeletons[1, 0, :, 4, 2].diff() / told.bn.running_var[14] ** 0.5),
        atol=1e-3,
        rtol=1e-2,
    )


def test_sizes_of_blocks() -> None:
    assert block_sizes(3, 64, 4, (2, 4)) == [
        BlockSize(3, 64, 1), BlockSize(64, 128, 2), BlockSize(128, 128, 1), BlockSize(128, 256, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["stgcn", "stgcnpp"])
def test_the_order_of_persons_does_not_count(kind: str) -> None:
    model = graph_recognizer(kind)
    clips = torch.rand(1, 2, 3, 8, 17, 3)
    torch.testing.assert_close(model(clips.flip(2)), model(clips))


@pytest.mark.parametrize("kind", ["stgcn", "stgcnpp", "agcn"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_are_of_persons_frames_and_joints(kind: str, layout: Joints) -> None:
    model = graph_recognizer(kind, layout=layout)
    features = model.forward_features(torch.rand(4, 2, 9, NUM_JOINTS[layout], 3))
    assert features.shape == (4, 2, 24, 5, NUM_JOINTS[layout])
    assert [len(parts) for parts in model.parts_by_depth()] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["stgcn", "stgcnpp", "agcn"])
def test_they_can_be_built_without_memory(kind: str) -> None:
    with torch.device("meta"):
        model = graph_recognizer(kind)
        assert model(torch.empty(1, 1, 2, 8, 17, 3)).shape == (1, 1, 5)
