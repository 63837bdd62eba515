"""A trained recognizer for one video at a time: ``load_recognizer(...).recognize("video.mp4").top(5)``."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.data.views import EvalView
from kinoray.models.base import Recognizer
from kinoray.recipe import Average
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.evaluate import average_views
from kinoray.video.decode import VideoReader


@dataclass(frozen=True)
class Recognition:
    """What was recognized.

    Attributes:
        scores: ``(K,)`` float32, averaged over views.
        classes: K names.
    """

    scores: NDArray[np.float32]
    classes: tuple[str, ...]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k best classes with their scores, best first."""
        best = np.argsort(self.scores)[::-1][:k]
        return [(self.classes[index], float(self.scores[index])) for index in best]


class VideoRecognizer:
    """A model with the views it looks at and the names of its classes.

    Args:
        model: in eval mode, on its device.
        view: how a video becomes clips.
        classes: K names.
        average: how views become one score.
    """

    def __init__(self, model: Recognizer, view: EvalView, classes: tuple[str, ...], average: Average) -> None:
        self.model, self.view, self.classes, self.average = model, view, classes, average
        self.device = model.normalize.mean.device

    def __call__(self, clips: Tensor) -> Tensor:
        """``(N, M, C, T, H, W)`` uint8 -> ``(N, M, K)`` logits."""
        with torch.inference_mode():
            return self.model(clips.to(self.device))  # type: ignore[no-any-return]

    def recognize(self, video: str | Path | bytes | BinaryIO) -> Recognition:
        """Score one video: a path, a URI, or its bytes.

        Raises:
            DecodeError: it cannot be read.
        """
        with VideoReader(str(video) if isinstance(video, Path) else video) as reader:
            views, _ = self.view.read(reader, range(reader.num_frames), clip_seed=0)
        clips = torch.from_numpy(views).permute(0, 4, 1, 2, 3).unsqueeze(0)
        return Recognition(average_views(self(clips).float(), self.average)[0].cpu().numpy(), self.classes)


def load_recognizer(checkpoint: str | Path, *, device: str = "cpu", split: str = "val") -> VideoRecognizer:
    """Load a checkpoint folder, or the best checkpoint of a run's folder.

    Args:
        checkpoint: local path.
        device: torch's name of the device.
        split: whose views are taken of a video, ``val`` or ``test``.

    Raises:
        CheckpointError: it is missing, incomplete or damaged.
    """
    opened = open_checkpoint(checkpoint)
    recipe = opened.recipe()
    model = recipe.model.without_pretrained().build()
    opened.restore_model(model)
    view = recipe.data.evaluation_split(split)
    return VideoRecognizer(model.to(device).eval(), view, opened.classes(), recipe.evaluation.average)
