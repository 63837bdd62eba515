"""A batch of clips between the pipeline and the model."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Clips of one worker's share of a global batch, bad videos included.

    Attributes:
        clips: ``(N, M, T, H, W, C)`` uint8. May alias memory that other processes read: never written in place.
        labels: ``(N,)`` int64.
        video_ids: N ids.
        positions: ``(N,)`` int64, places in the plan.
        errors: N messages, empty where the video was read.
        decode_seconds: time that reading took, summed over the clips.
    """

    clips: Tensor
    labels: Tensor
    video_ids: tuple[str, ...]
    positions: NDArray[np.int64]
    errors: tuple[str, ...]
    decode_seconds: float

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Self:
        """From columns of ``ClipRow`` fields; clips are not copied."""
        with warnings.catch_warnings():
            # The array is read-only because it lies in shared memory; nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            clips = torch.from_numpy(columns["clip"])
        return cls(
            clips=clips,
            labels=torch.tensor(columns["label"], dtype=torch.int64),
            video_ids=tuple(str(video_id) for video_id in columns["video_id"]),
            positions=np.array(columns["position"], dtype=np.int64),
            errors=tuple(str(error) for error in columns["error"]),
            decode_seconds=float(np.sum(columns["decode_seconds"])),
        )

    @property
    def num_good(self) -> int:
        """Videos that were read."""
        return sum(not error for error in self.errors)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Clips, labels and weights on a device.

        Bad videos are left out; where all of them are bad they stay with weight 0, because every worker has to take
        part in every step.

        Returns:
            ``(N, M, C, T, H, W)`` uint8 (a view, channels last in memory), ``(N,)`` int64, ``(N,)`` float32.
        """
        good = [index for index, error in enumerate(self.errors) if not error]
        all_good = len(good) == len(self.errors)
        clips = self.clips if all_good or not good else self.clips[good]
        labels = self.labels if all_good or not good else self.labels[good]
        weights = torch.full((len(labels),), 1.0 if good else 0.0)
        if device.type == "cuda":
            clips, labels, weights = (x.pin_memory() for x in (clips, labels, weights))
        clips, labels, weights = (x.to(device, non_blocking=True) for x in (clips, labels, weights))
        return clips.permute(0, 1, 5, 2, 3, 4), labels, weights
