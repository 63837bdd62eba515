import pytest
import torch
from pydantic import ValidationError
from torch import nn

from kinoray.models.tanet import TANetConfig, TemporalAdaptive


def test_filter_on_numbers() -> None:
    """Without what depends on the video the gate is 1/2 and the kernel 1/3, 1/3, 1/3."""
    layer = TemporalAdaptive(channels=4, num_frames=3).eval()
    for value in layer.parameters():
        nn.init.zeros_(value)
    frames = torch.tensor([6.0, 12, 18]).view(3, 1, 1, 1).expand(3, 4, 2, 2)
    expected = torch.tensor([3.0, 6, 5]).view(3, 1, 1, 1).expand(3, 4, 2, 2)
    torch.testing.assert_close(layer(frames), expected)


def test_kernel_weighs_before_now_and_after() -> None:
    layer = TemporalAdaptive(channels=4, num_frames=3).eval()
    for value in layer.parameters():
        nn.init.zeros_(value)
    # softmax (0, 0, large): all from the next frame.
    layer.kernel[1].bias.data.fill_(1.0)
    layer.kernel[3].weight.data[2] = 100.0
    frames = torch.tensor([6.0, 12, 18]).view(3, 1, 1, 1).expand(3, 4, 1, 1)
    torch.testing.assert_close(layer(frames)[:, 0].flatten(), torch.tensor([6.0, 9, 0]))


def test_every_channel_of_every_video_has_its_kernel() -> None:
    torch.manual_seed(0)
    layer = TemporalAdaptive(channels=4, num_frames=4).eval()
    for linear in (layer.kernel[0], layer.kernel[3]):
        nn.init.normal_(linear.weight)
    videos = torch.randn(2, 4, 4, 2, 2)
    together = layer(videos.flatten(0, 1)).view_as(videos)
    for number in range(2):
        torch.testing.assert_close(layer(videos[number]), together[number])


def test_where_it_is_put() -> None:
    with torch.device("meta"):
        model = TANetConfig(num_classes=3).build()
    places = [name for name, part in model.named_modules() if isinstance(part, TemporalAdaptive)]
    assert len(places) == 3 + 4 + 6 + 3
    assert all(name.endswith(".conv2.adapt") for name in places)


def test_blocks_without_a_middle_are_refused() -> None:
    with pytest.raises(ValidationError, match="resnet50"):
        TANetConfig.model_validate({"num_classes": 3, "backbone": "resnet18"})
