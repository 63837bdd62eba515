import math

import pytest
import torch
from torch import nn

from kinoray.errors import ConfigError
from kinoray.models.layers.transformer import (
    FrameEmbedding,
    PatchEmbedding,
    QuickGELU,
    TransformerBlock,
    check_clip_size,
    depth_rates,
    fitted_positions,
    init_transformer,
    resized_positions,
    sinusoids,
)


def test_sinusoids_are_those_of_the_paper() -> None:
    table = sinusoids(7, 6)
    assert table[5, 2] == pytest.approx(math.sin(5 / 10000 ** (2 / 6)))
    assert table[5, 3] == pytest.approx(math.cos(5 / 10000 ** (2 / 6)))
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1]


def test_positions_of_the_same_grid_stay() -> None:
    positions = torch.rand(1, 8, 3)
    assert resized_positions(positions, (2, 2), (2, 2)) is positions


def test_frames_keep_their_own_positions_when_resized() -> None:
    frames = torch.tensor([1.0, 5.0]).repeat_interleave(4).view(1, 8, 1)
    resized = resized_positions(frames, (2, 2), (3, 4))
    torch.testing.assert_close(resized.flatten(), torch.tensor([1.0, 5.0]).repeat_interleave(12))


def test_rows_and_columns_are_not_exchanged() -> None:
    rows = torch.arange(4.0).repeat_interleave(4).view(1, 16, 1)
    resized = resized_positions(rows, (4, 4), (8, 8)).view(8, 8)
    assert (resized.diff(dim=0) > 0).all()
    torch.testing.assert_close(resized, resized[:, :1].expand(8, 8))


@pytest.mark.parametrize("axes", [(), (1,)])
def test_class_token_keeps_its_position(axes: tuple[int, ...]) -> None:
    positions = torch.rand(*axes, 1 + 4, 3)
    fitted = fitted_positions(positions, torch.Size([*axes, 1 + 9, 3]))
    assert fitted is not None
    assert fitted.shape == (*axes, 10, 3)
    assert torch.equal(fitted[..., 0, :], positions[..., 0, :])


@pytest.mark.parametrize("shape", [(1, 10, 4), (1, 9, 3), (10, 3)])
def test_other_tables_do_not_fit(shape: tuple[int, ...]) -> None:
    assert fitted_positions(torch.rand(1, 5, 3), torch.Size(shape)) is None


def test_patches_keep_their_places() -> None:
    embedding = PatchEmbedding(3, 1, kernel=(2, 4, 4))
    nn.init.ones_(embedding.proj.weight)
    nn.init.zeros_(embedding.proj.bias)
    clips = torch.zeros(1, 3, 4, 8, 12)
    clips[0, 0, 3, 5, 10] = 1  # second pair of frames, second row, third column
    tokens = embedding(clips)
    assert tokens.shape == (1, 2, 2, 3, 1)
    assert tokens.nonzero().tolist() == [[0, 1, 1, 2, 0]]


def test_frames_are_cut_one_by_one() -> None:
    embedding, clips = FrameEmbedding(3, 5, 4), torch.rand(2, 3, 2, 8, 8)
    tokens = embedding(clips)
    assert tokens.shape == (2, 2, 4, 5)
    torch.testing.assert_close(tokens[1, 1], embedding(clips[1:, :, 1:])[0, 0])


def test_without_attention_and_mlp_a_block_is_nothing() -> None:
    block = TransformerBlock(8, 2, layer_scale=1e-9, drop_path=0.5).eval()
    x = torch.rand(2, 3, 8)
    torch.testing.assert_close(block(x), x)


def test_left_out_rows_are_left_out_as_a_whole() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, drop_path=0.9)
    x = torch.rand(64, 3, 8)
    is_same = (block(x) == x).flatten(1)
    assert is_same.all(dim=1).sum() > 32
    assert (is_same.all(dim=1) == is_same.any(dim=1)).all()


def test_quick_gelu_is_close_to_gelu() -> None:
    x = torch.linspace(-3, 3, 50)
    assert (QuickGELU()(x) - nn.functional.gelu(x)).abs().max() < 0.03


def test_rates_rise_with_depth() -> None:
    assert depth_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert depth_rates(0.3, 1) == [0]


def test_start_is_small_and_without_bias() -> None:
    layers = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64, bias=False))
    init_transformer(layers)
    assert layers[0].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert layers[1].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not layers[0].bias.any()


def test_clips_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Net for clips of 8 x 32 x 32 .*, got 8 x 32 x 48; set model.num_frames"):
        check_clip_size(torch.zeros(1, 3, 8, 32, 48), (8, 32, 32), "Net")
