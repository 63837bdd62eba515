import pytest
import torch
from torch import Tensor

from kinoray.models.tin import TemporalInterlace, TINConfig, move
from kinoray.models.tsn import MMACTION2_KEYS
from kinoray.models.weights import rename_keys


def column(values: list[float]) -> Tensor:
    """One clip, one group of one channel and one pixel: a number a frame."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0.0, [1, 10, 100, 1000]),
        (1.0, [0, 1, 10, 100]),
        (-1.0, [10, 100, 1000, 0]),
        (0.25, [0.75, 7.75, 77.5, 775]),
        (-0.25, [3.25, 32.5, 325, 750]),
        (1.5, [0, 0.5, 5.5, 55]),
    ],
)
def test_move_on_numbers(offset: float, expected: list[float]) -> None:
    moved = move(column([1, 10, 100, 1000]), torch.tensor([[offset]]))
    assert moved.flatten().tolist() == expected


def test_videos_and_groups_move_on_their_own() -> None:
    groups = torch.arange(12.0).view(2, 3, 2, 1, 1, 1)
    moved = move(groups, torch.tensor([[1.0, 0.0], [0.0, -1.0]])).flatten(2)
    assert moved.tolist() == [[[0, 1], [0, 3], [2, 5]], [[6, 9], [8, 11], [10, 0]]]


def test_first_offsets_and_weights() -> None:
    """Without what depends on the video: half a frame each way, and no weighing."""
    layer = TemporalInterlace(channels=16, num_frames=4, shift_div=2)
    with torch.no_grad():
        for name, value in layer.named_parameters():
            if name.endswith("weight"):
                value.zero_()
    frames = torch.ones(4, 16, 1, 1)
    result = layer(frames)[..., 0, 0]
    ones = [1.0] * 8
    # Groups of two channels: two groups come late, so that half of the first frame is from before; two come early.
    late, early = [0.5] * 4 + [1.0] * 4, [1.0] * 4 + [0.5] * 4
    expected = torch.tensor([late + ones, [1.0] * 16, [1.0] * 16, early + ones])
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


def test_groups_that_go_apart_are_weighed_alike() -> None:
    layer = TemporalInterlace(channels=8, num_frames=4, shift_div=1)
    with torch.no_grad():
        layer.weight_conv.bias.copy_(torch.tensor([20.0, -20.0]))
        layer.weight_conv.weight.zero_()
        layer.offset_fc2.bias.zero_()
        layer.offset_fc2.weight.zero_()
    result = layer(torch.ones(4, 8, 1, 1))
    torch.testing.assert_close(result[0, :, 0, 0], torch.tensor([2.0, 2, 0, 0, 2, 2, 0, 0]))


def test_keys_of_mmaction2_and_of_tsm() -> None:
    keys = {
        "backbone.layer1.0.conv1.conv.net1.offset_net.fc2.bias": "backbone.layer1.0.conv1.interlace.offset_fc2.bias",
        "backbone.layer1.0.conv1.conv.net1.weight_net.conv.weight": (
            "backbone.layer1.0.conv1.interlace.weight_conv.weight"
        ),
        "backbone.layer1.0.conv1.conv.net2.weight": "backbone.layer1.0.conv1.weight",
        "backbone.layer1.1.conv1.conv.net.weight": "backbone.layer1.1.conv1.weight",
        "backbone.layer1.0.conv1.bn.bias": "backbone.layer1.0.bn1.bias",
        "cls_head.fc_cls.weight": "fc.weight",
    }
    model = TINConfig(num_classes=3, backbone="resnet18").build()
    renamed = rename_keys(dict.fromkeys(keys, torch.zeros(())), model.key_rules()["MMAction2"])
    assert list(renamed) == list(keys.values())
    assert set(keys.values()) <= set(model.state_dict())
    assert model.key_rules()["MMAction2"][-len(MMACTION2_KEYS) :] == MMACTION2_KEYS
