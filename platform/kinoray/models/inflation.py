"""Kernels made to fit: pictures' to clips, RGB's to other channels, one network's to a wider input.

Source: arXiv 1705.07750, section 2.4.1 (inflation); arXiv 1608.00859, section 3.2 (RGB to optical flow); zeros for
channels that another pathway joins: ResNet3dPathway of MMAction2 at 4d6c934.
"""

from typing import Literal

import torch
from torch import Tensor

NUM_COLOURS = 3
Inflation = Literal["mean", "center"]


def fit_kernel(kernel: Tensor, shape: torch.Size, inflation: Inflation = "mean") -> Tensor | None:
    """Make a convolution's kernel fit another convolution; None where no rule leads there.

    Args:
        kernel: ``(O, I, H, W)`` or ``(O, I, T, H, W)``.
        shape: wanted; O, H, W and, of a kernel that has it, T are the kernel's own.
        inflation: see ``inflate``.

    Returns:
        In three input channels' place others get the mean of the three. Where a 2D kernel is inflated, input channels
        beyond its own get zeros: those are what another pathway joins to them.
    """
    if kernel.ndim not in {4, 5} or len(shape) not in {kernel.ndim, 5}:
        return None
    is_inflated = len(shape) > kernel.ndim
    num_given, num_wanted = kernel.shape[1], shape[1]
    if num_given == NUM_COLOURS != num_wanted:
        kernel = kernel.mean(dim=1, keepdim=True).expand(-1, num_wanted, *kernel.shape[2:])
    elif is_inflated and num_given < num_wanted:
        joined = kernel.new_zeros(kernel.shape[0], num_wanted - num_given, *kernel.shape[2:])
        kernel = torch.cat([kernel, joined], dim=1)
    if is_inflated:
        kernel = inflate(kernel, shape[2], inflation)
    return kernel if kernel.shape == shape else None


def inflate(kernel: Tensor, num_frames: int, inflation: Inflation = "mean") -> Tensor:
    """``(O, I, H, W)`` -> ``(O, I, T, H, W)``; a still clip gives what the picture gave.

    Args:
        kernel: of a 2D convolution.
        num_frames: T.
        inflation: ``mean`` repeats it over time, divided by T; ``center`` keeps it on the middle frame, among zeros, so
            that the network starts as one that sees each frame on its own.
    """
    if inflation == "mean":
        return kernel.unsqueeze(2).repeat(1, 1, num_frames, 1, 1) / num_frames
    inflated = kernel.new_zeros(*kernel.shape[:2], num_frames, *kernel.shape[2:])
    inflated[:, :, num_frames // 2] = kernel
    return inflated
