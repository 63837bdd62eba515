"""What a network costs, against what can be counted by hand."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from small_models import small_clips, small_config  # after the path is set

from kinoray.models.base import Recognizer
from kinoray.models.cost import OTHER, Stage, forward_cost, num_parameters, training_cost


class Counted(Recognizer):
    """A convolution, two operations that keep the shape, and a classifier."""

    def __init__(self) -> None:
        super().__init__(num_classes=5, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.conv = nn.Conv3d(3, 4, (1, 2, 2), stride=(1, 2, 2), bias=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.fc = nn.Linear(4, 5)

    def forward_features(self, clips: Tensor) -> Tensor:
        return (self.conv(clips) * self.scale).sigmoid()

    def forward_head(self, features: Tensor) -> Tensor:
        return self.fc(features.mean(dim=(2, 3, 4)))

    def head(self) -> nn.Module:
        return self.fc

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.conv]]


CLIPS = (2, 3, 3, 4, 16, 16)
VIEWS, CELLS = 2 * 3, 4 * 8 * 8
CONV_MACS, FC_MACS = VIEWS * CELLS * 4 * 3 * 2 * 2, VIEWS * 4 * 5
INPUT_BYTES, MAP_BYTES = VIEWS * 3 * 4 * 16 * 16, VIEWS * CELLS * 4 * 4


def test_multiply_adds_by_hand() -> None:
    cost = forward_cost(Counted().eval(), torch.zeros(CLIPS, dtype=torch.uint8))
    assert cost.macs == CONV_MACS + FC_MACS
    assert cost.stages == (
        Stage("conv", (VIEWS, 4, 4, 8, 8), 3 * 4 * 2 * 2, CONV_MACS),
        Stage("fc", (VIEWS, 5), 4 * 5 + 5, FC_MACS),
        Stage(OTHER, None, 1, 0),
    )


def test_memory_by_hand() -> None:
    model, clips = Counted(), torch.zeros(CLIPS, dtype=torch.uint8)
    # Normalizing is the peak: clips, their floats, the difference, its quotient, where nothing is freed before its use.
    peak = forward_cost(model.eval(), clips).peak_bytes
    assert INPUT_BYTES + 2 * 4 * INPUT_BYTES <= peak <= INPUT_BYTES + 3 * 4 * INPUT_BYTES
    trained = training_cost(model.train(), clips)
    # The convolution keeps its input, the product one factor, the sigmoid what it gave; clips stay with the caller.
    kept = INPUT_BYTES + 4 * INPUT_BYTES + 2 * MAP_BYTES
    assert kept <= trained.saved_bytes <= kept + 2048
    assert trained.peak_bytes >= trained.saved_bytes + MAP_BYTES


def test_half_the_bits_take_less_memory() -> None:
    model, clips = Counted().train(), torch.zeros(CLIPS, dtype=torch.uint8)
    assert training_cost(model, clips, precision="bf16").saved_bytes < training_cost(model, clips).saved_bytes


def test_the_network_is_left_as_it_was() -> None:
    model = Counted().eval()
    model.conv.requires_grad_(False)
    clips = torch.zeros(CLIPS, dtype=torch.uint8)
    forward_cost(model, clips)
    training_cost(model.train(), clips)
    assert [name for name, value in model.named_parameters() if value.requires_grad] == [
        "scale",
        "fc.weight",
        "fc.bias",
    ]
    assert all(value.grad is None for value in model.parameters())
    model(clips).mean().backward()
    assert model.fc.weight.grad is not None


@pytest.mark.parametrize(
    "kind",
    ["slowfast", "stgcn", "uniformerv2", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("trn", "xclip"))],
)
def test_shapes_alone_tell_it(kind: str) -> None:
    config = small_config(kind)
    model, clips = config.build().eval(), small_clips(config)
    real = forward_cost(model, clips)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        told = forward_cost(model, torch.empty(clips.shape, dtype=clips.dtype))
        assert training_cost(model.train(), torch.empty(clips.shape, dtype=clips.dtype)).saved_bytes > 0
    assert told == real
    assert sum(stage.macs for stage in told.stages) == told.macs > 0
    assert sum(stage.num_parameters for stage in told.stages) == num_parameters(model)
