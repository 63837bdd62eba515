"""Kernels of pictures on clips."""

import pytest
import torch
import torchvision
from torch import nn

from kinoray.models.inflation import fit_kernel, inflate
from kinoray.models.layers.resnet3d import ResNet3d, rules_from_resnet2d
from kinoray.models.weights import rename_keys


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_kernel_repeated_over_time_sums_to_the_picture_s() -> None:
    kernel = drawn(2, 3, 7, 7)
    inflated = inflate(kernel, 5)
    assert inflated.shape == (2, 3, 5, 7, 7)
    assert torch.equal(inflated, (kernel / 5).unsqueeze(2).expand(2, 3, 5, 7, 7))
    torch.testing.assert_close(inflated.sum(2), kernel)


@pytest.mark.parametrize(("num_frames", "middle"), [(1, 0), (3, 1), (5, 2)])
def test_a_kernel_on_the_middle_frame_is_the_picture_s(num_frames: int, middle: int) -> None:
    kernel = drawn(2, 3, 3, 3)
    inflated = inflate(kernel, num_frames, "center")
    assert torch.equal(inflated[:, :, middle], kernel)
    assert inflated.count_nonzero() == kernel.count_nonzero()


def test_other_channels_get_the_mean_colour() -> None:
    kernel = drawn(4, 3, 7, 7)
    flow = fit_kernel(kernel, torch.Size((4, 10, 7, 7)))
    assert flow is not None
    torch.testing.assert_close(flow, kernel.mean(1, keepdim=True).expand(4, 10, 7, 7))
    clips = fit_kernel(kernel, torch.Size((4, 2, 5, 7, 7)))
    assert clips is not None
    torch.testing.assert_close(clips, kernel.mean(1)[:, None, None].expand(4, 2, 5, 7, 7) / 5)
    of_clips = fit_kernel(drawn(4, 3, 5, 7, 7), torch.Size((4, 2, 5, 7, 7)))
    assert of_clips is not None
    torch.testing.assert_close(of_clips[:, 1], drawn(4, 3, 5, 7, 7).mean(1))


def test_channels_that_are_joined_get_zeros() -> None:
    kernel = drawn(4, 8, 1, 1)
    wider = fit_kernel(kernel, torch.Size((4, 10, 3, 1, 1)))
    assert wider is not None
    torch.testing.assert_close(wider[:, :8], inflate(kernel, 3))
    assert not wider[:, 8:].any()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((4, 8, 1, 1), (4, 6, 3, 1, 1)),  # fewer channels
        ((4, 8, 1, 1), (4, 10, 1, 1)),  # more, where nothing is inflated
        ((4, 8, 1, 1), (5, 8, 3, 1, 1)),
        ((4, 8, 1, 1), (4, 8, 3, 3, 3)),
        ((4, 8, 3, 1, 1), (4, 8, 5, 1, 1)),
        ((4, 8, 3, 1, 1), (4, 8, 1, 1)),
        ((4, 8), (4, 10)),
        ((4,), (5,)),
    ],
)
def test_where_no_rule_leads(given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    assert fit_kernel(drawn(*given), torch.Size(wanted)) is None


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """torchvision's, with statistics that are not those of a fresh one."""
    torch.manual_seed(0)
    net = torchvision.models.resnet50().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


@pytest.mark.parametrize("inflation", ["mean", "center"])
def test_an_inflated_network_sees_in_a_still_clip_what_it_saw_in_the_picture(resnet: nn.Module, inflation: str) -> None:
    trunk = ResNet3d(50, stem_kernel=(5, 7, 7), inflate=(False, False, False, True)).eval()
    given = rename_keys(resnet.state_dict(), rules_from_resnet2d("trunk"))
    for key, value in trunk.state_dict().items():
        fitted = fit_kernel(given[f"trunk.{key}"], value.shape, inflation) if value.ndim == 5 else given[f"trunk.{key}"]
        assert fitted is not None
        value.copy_(fitted)

    picture = drawn(1, 3, 32, 32)
    num_frames = 11  # the middle one is out of reach of both ends: 2 in the stem, 1 in each of the last three blocks
    with torch.inference_mode():
        wanted = nn.Sequential(*list(resnet.children())[:-2])(picture)
        atol = 1e-4 * wanted.max().item()
        found = trunk(picture.unsqueeze(2).expand(1, 3, num_frames, 32, 32))
        torch.testing.assert_close(found[:, :, num_frames // 2], wanted, atol=atol, rtol=1e-4)
        if inflation == "center":
            moving = drawn(1, 3, 2, 32, 32)
            torch.testing.assert_close(trunk(moving)[:, :, 1:], trunk(moving[:, :, 1:]), atol=atol, rtol=1e-4)
