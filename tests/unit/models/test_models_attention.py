import pytest
import torch
from torch import Tensor, nn

from kinoray.models.layers.attention import CrossAttention, QkvBias, SelfAttention, heads, joined

WIDTH, NUM_HEADS = 12, 3


def tokens(length: int, seed: int) -> Tensor:
    return torch.randn(2, length, WIDTH, generator=torch.Generator().manual_seed(seed))


def as_torchs(ours: SelfAttention | CrossAttention) -> nn.MultiheadAttention:
    """PyTorch's attention with the same weights."""
    theirs = nn.MultiheadAttention(WIDTH, NUM_HEADS, batch_first=True)
    nn.init.normal_(ours.qkv.bias)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    return theirs


def test_self_attention_is_that_of_pytorch() -> None:
    ours, x = SelfAttention(WIDTH, NUM_HEADS), tokens(5, 0)
    theirs = as_torchs(ours)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_cross_attention_is_that_of_pytorch() -> None:
    ours, asking, asked = CrossAttention(WIDTH, NUM_HEADS), tokens(2, 0), tokens(7, 1)
    theirs = as_torchs(ours)
    torch.testing.assert_close(ours(asking, asked), theirs(asking, asked, asked, need_weights=False)[0])


def test_a_bias_of_the_keys_changes_nothing() -> None:
    whole, part, x = SelfAttention(WIDTH, NUM_HEADS), SelfAttention(WIDTH, NUM_HEADS, bias="no_keys"), tokens(5, 0)
    nn.init.normal_(whole.qkv.bias)
    query_bias, _, value_bias = whole.qkv.bias.detach().chunk(3)
    part.load_state_dict(
        {
            "q_bias": query_bias,
            "v_bias": value_bias,
            **{key: value for key, value in whole.state_dict().items() if key != "qkv.bias"},
        }
    )
    torch.testing.assert_close(part(x), whole(x))


@pytest.mark.parametrize(
    ("bias", "names"), [("all", {"qkv.bias"}), ("no_keys", {"q_bias", "v_bias"}), ("none", set[str]())]
)
def test_biases_are_parameters_only_where_there_are_some(bias: QkvBias, names: set[str]) -> None:
    found = {name for name, _ in SelfAttention(WIDTH, NUM_HEADS, bias=bias).named_parameters()}
    assert found == {"qkv.weight", "proj.weight", "proj.bias"} | names


def test_heads_are_split_and_joined_again() -> None:
    x = tokens(5, 0)
    first, second = heads(torch.cat([x, -x], dim=-1), 2, NUM_HEADS)
    assert first.shape == (2, NUM_HEADS, 5, WIDTH // NUM_HEADS)
    assert torch.equal(first, -second)
    assert torch.equal(joined(first), x)
