"""What the model gets to see: some videos of a step, taken from the tensors of the step itself."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.train.events import BatchSeen

MAX_VIDEOS = 8
MAX_FRAMES = 6
MAX_SIDE = 112
MAX_SHARES = 3


class Sheet:
    """Collects small pictures from the parts of one batch; a part that comes when it is full costs nothing."""

    def __init__(self) -> None:
        self._pictures: list[NDArray[np.uint8]] = []
        self._labels: list[tuple[tuple[int, float], ...]] = []

    def add(self, clips: Tensor, targets: Tensor) -> None:
        """Take what is still wanted.

        Args:
            clips: ``(N, M, 3, T, H, W)`` RGB in 0..255, as they go into the model.
            targets: ``(N,)`` classes, or ``(N, K)`` shares of them, as they go into the loss.
        """
        num_wanted = MAX_VIDEOS - len(self._pictures)
        if num_wanted > 0:
            self._pictures += list(thumbnails(clips[:num_wanted]))
            self._labels += [_shares(target) for target in targets[:num_wanted].cpu()]

    def event(self) -> BatchSeen:
        """Of at least one part."""
        return BatchSeen(np.stack(self._pictures), tuple(self._labels))


def thumbnails(clips: Tensor) -> NDArray[np.uint8]:
    """``(N, M, 3, T, H, W)`` in 0..255 -> ``(N, F, h, w, 3)``: frames spread over the first view, made small."""
    num_frames, height, width = clips.shape[3:]
    places = torch.linspace(0, num_frames - 1, min(num_frames, MAX_FRAMES)).round().long()
    frames = clips[:, 0].index_select(2, places.to(clips.device)).transpose(1, 2).float()
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # Each new pixel is the mean of those that it covers; frames that are small enough stay as they are.
    small = torch.nn.functional.adaptive_avg_pool2d(frames.flatten(0, 1), size)
    pictures = small.view(*frames.shape[:3], *size).permute(0, 1, 3, 4, 2)
    return (pictures + 0.5).clamp(0, 255).to("cpu", torch.uint8).numpy()


def _shares(target: Tensor) -> tuple[tuple[int, float], ...]:
    """The largest parts of one video's target."""
    if target.ndim == 0:
        return ((int(target), 1.0),)
    values, classes = target.float().topk(min(MAX_SHARES, len(target)))
    return tuple((int(label), float(share)) for label, share in zip(classes, values, strict=True) if share > 0)
