"""Brightness, contrast, saturation and hue of clips, changed in place.

All functions take clips ``(B, 3, T, H, W)`` float32 of grey levels 0..255, most of them with one number for each of
the B clips. They compute what torchvision's functions of the same names do with a picture; here the picture is the
whole clip, so that what a function measures (the mean, for contrast) does not flicker from frame to frame.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kinoray.transforms.pieces import frame_parts, per_clip, where_true

LUMA = (0.2989, 0.587, 0.114)
"""Shares of R, G and B in grey, as torchvision has them."""


def grey(clips: Tensor) -> Tensor:
    """``(B, 1, T, H, W)`` luma."""
    red, green, blue = torch.split(clips, 1, dim=1)
    return red.mul(LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def grayscale_(clips: Tensor) -> None:
    """R, G and B all become luma."""
    for part in frame_parts(clips):
        part.copy_(grey(part).expand_as(part))


def adjust_brightness_(clips: Tensor, factors: Sequence[float]) -> None:
    """Times a factor: 0 is black, 1 leaves the clip."""
    clips.mul_(per_clip(factors, clips)).clamp_(0, 255)


def adjust_contrast_(clips: Tensor, factors: Sequence[float]) -> None:
    """Away from (above 1) or towards (below 1) the mean luma of the clip."""
    shares = torch.tensor(LUMA).to(clips.device, non_blocking=True)
    means = (clips.mean(dim=(2, 3, 4)) * shares).sum(dim=1).view(-1, 1, 1, 1, 1)
    factor = per_clip(factors, clips)
    offset = means * (1 - factor)
    for part in frame_parts(clips):
        part.mul_(factor).add_(offset).clamp_(0, 255)


def adjust_saturation_(clips: Tensor, factors: Sequence[float]) -> None:
    """Away from (above 1) or towards (below 1) the pixel's own luma."""
    factor = per_clip(factors, clips)
    for part in frame_parts(clips):
        luma = grey(part).mul_(1 - factor)
        part.mul_(factor).add_(luma).clamp_(0, 255)


def adjust_hue_(clips: Tensor, turns: Sequence[float]) -> None:
    """Turn hues around the circle of colours, 1 being all of it, and leave saturation and value (HSV)."""
    sixths = per_clip([6 * turn for turn in turns], clips)
    for part in frame_parts(clips):
        _turn_(part, sixths)


def _turn_(clips: Tensor, sixths: Tensor) -> None:
    """HSV has six sectors, of 60 degrees. Source: HSV's closed form f(n), as in A. R. Smith's hexcone model of 1978."""
    red, green, blue = torch.split(clips, 1, dim=1)
    high = torch.maximum(torch.maximum(red, green), blue)
    spread = high - torch.minimum(torch.minimum(red, green), blue)
    # Grey has no hue: all differences are 0, and any divisor will do.
    divisor = spread.clamp(min=torch.finfo(clips.dtype).tiny)
    hue = red.sub(green).div_(divisor).add_(4)
    hue.lerp_(blue.sub(red).div_(divisor).add_(2), where_true(torch.eq, high, green))
    hue.lerp_(green.sub(blue).div_(divisor), where_true(torch.eq, high, red)).add_(sixths)
    for channel, start in ((red, 5), (green, 3), (blue, 1)):
        sector = hue + start
        sector.sub_(sector.div(6).floor_(), alpha=6)
        # A trapezoid over the circle: 0 at sectors 0 and 4 to 6, 1 from sector 1 to 3.
        lacking = sector.sub_(2).abs_().neg_().add_(2).clamp_(0, 1).mul_(spread)
        torch.sub(high, lacking, out=channel)
