import pytest
import torch
from torch import nn

from kinoray.models.r2plus1d import Conv2Plus1d, R2Plus1D, R2Plus1DConfig


def small(**settings: object) -> R2Plus1D:
    torch.manual_seed(0)
    return R2Plus1DConfig.model_validate({"num_classes": 3, "depth": 18, "width": 4, **settings}).build()


@pytest.mark.parametrize(
    ("channels", "out_channels", "kernel", "middle"),
    [(3, 64, (3, 7, 7), 83), (64, 64, (3, 3, 3), 144), (64, 128, (3, 3, 3), 230), (64, 128, (1, 1, 1), 54)],
)
def test_halves_have_about_as_many_weights(
    channels: int, out_channels: int, kernel: tuple[int, int, int], middle: int
) -> None:
    whole = nn.Conv3d(channels, out_channels, kernel, bias=False)
    split = Conv2Plus1d(whole)
    num_weights = split.conv_s.weight.numel() + split.conv_t.weight.numel()
    assert split.bn_s.num_features == middle
    if kernel[0] == 3:
        assert num_weights == pytest.approx(whole.weight.numel(), rel=0.01)


def test_halves_step_as_the_whole() -> None:
    whole = nn.Conv3d(2, 4, (3, 3, 3), stride=(2, 1, 3), padding=1)
    x = torch.zeros(1, 2, 7, 8, 9)
    assert Conv2Plus1d(whole)(x).shape == whole(x).shape


def test_every_convolution_is_split() -> None:
    kernels = [module.kernel_size for module in small().modules() if isinstance(module, nn.Conv3d)]
    assert all(1 in {kernel[0], kernel[1]} for kernel in kernels)
    assert sum(kernel[0] == 3 for kernel in kernels) == 17  # all but those of the three shortcuts


def test_norms_between_the_halves_have_another_epsilon() -> None:
    eps = {name.rpartition(".")[2]: set() for name, module in small().named_modules() if "bn" in name}
    for name, module in small().named_modules():
        if isinstance(module, nn.BatchNorm3d):
            eps[name.rpartition(".")[2]].add(module.eps)
    assert eps == {"bn": {1e-3}, "bn_s": {1e-5}}


@pytest.mark.parametrize(("num_frames", "num_left"), [(1, 1), (8, 1), (9, 2), (32, 4)])
def test_time_shrinks_to_an_eighth(num_frames: int, num_left: int) -> None:
    assert small().eval().forward_features(torch.zeros(1, 3, num_frames, 33, 47)).shape == (1, 32, num_left, 2, 2)


def test_convolutions_start_with_the_spread_of_he() -> None:
    conv = small(width=32).backbone.layer4[1].conv1.conv.conv_s
    fan_out = conv.out_channels * 9
    assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
