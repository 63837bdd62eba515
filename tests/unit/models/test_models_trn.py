from itertools import combinations

import pytest
import torch
from torch import nn

from kinoray.errors import ConfigError
from kinoray.models.trn import RelationHead, TRNConfig


def head(relations: str = "multi_scale", num_frames: int = 4) -> RelationHead:
    """Every set of n frames scores the sum of its features, which are their own embeddings."""
    made = RelationHead(2, 1, num_frames=num_frames, relations=relations, embed_width=2, dropout=0.0)
    nn.init.eye_(made.embed.weight)
    for relation in made.relations:
        for number, std in ((1, 1 / 256 if relations == "multi_scale" else 1 / 512), (3, 1.0)):
            nn.init.constant_(relation[number].weight, std)
            nn.init.zeros_(relation[number].bias)
    return made


def test_scores_on_numbers() -> None:
    features = torch.tensor([[[1.0, 0], [10, 0], [100, 0], [1000, 0]]])
    means = {n: torch.tensor([float(sum(10**t for t in s)) for s in combinations(range(4), n)]).mean() for n in (2, 3)}
    expected = 1111 + 3 * means[3] + 3 * means[2]
    assert head().eval()(features).item() == pytest.approx(expected.item())
    assert head("all").eval()(features).item() == pytest.approx(1111)


def test_three_sets_of_each_size_are_drawn_in_training() -> None:
    features = torch.tensor([[[1.0, 0], [10, 0], [100, 0], [1000, 0]]])
    made = head().train()
    torch.manual_seed(0)
    scores = torch.tensor([made(features).item() for _ in range(200)])
    assert scores.unique().numel() > 20
    assert scores.mean().item() == pytest.approx(head().eval()(features).item(), rel=0.05)


def test_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    made = RelationHead(4, 3, num_frames=4, dropout=0.0, init_std=1.0).eval()
    features = torch.randn(1, 4, 4)
    assert not torch.allclose(made(features), made(features.flip(1)))


def test_sizes_and_sets() -> None:
    made = RelationHead(4, 3, num_frames=8)
    assert [len(subsets) for subsets in made.subsets] == [1, 8, 28, 56, 70, 56, 28]
    assert made.subsets[0] == [tuple(range(8))]


def test_another_number_of_frames_is_refused() -> None:
    model = TRNConfig(num_classes=3, backbone="resnet14", num_frames=4).build()
    with pytest.raises(ConfigError, match="4 frames are related, got views of 8"):
        model(torch.zeros(1, 1, 3, 8, 32, 32, dtype=torch.uint8))
