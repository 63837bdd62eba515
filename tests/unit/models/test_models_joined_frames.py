import copy

import pytest
import torch
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.layers.joined_frames import as_clips, check_num_frames, join_after, join_before


class PlusOne(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.one


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_what_is_joined_runs_before_or_after_and_keeps_names() -> None:
    before, after = Double(), Double()
    join_before(before, "inner", PlusOne())
    join_after(after, "inner", PlusOne())
    assert before(torch.tensor(3.0)).item() == 8
    assert after(torch.tensor(3.0)).item() == 7
    assert list(before.state_dict()) == ["inner.one"]


def test_a_copy_has_a_copy_of_it() -> None:
    layer = Double()
    join_before(layer, "inner", PlusOne())
    twin = copy.deepcopy(layer)
    nn.init.zeros_(twin.get_parameter("inner.one"))
    assert layer(torch.tensor(3.0)).item() == 8
    assert twin(torch.tensor(3.0)).item() == 6


def test_clips_are_frames_in_a_row() -> None:
    clips = as_clips(torch.arange(6.0).view(6, 1, 1, 1), 3)
    assert clips.flatten(1).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_frames_that_cannot_be_joined_are_refused() -> None:
    check_num_frames(torch.zeros(1, 3, 16, 2, 2), 8)
    with pytest.raises(ConfigError, match=r"num_frames: 8 frames are joined, got views of 12"):
        check_num_frames(torch.zeros(1, 3, 12, 2, 2), 8)
