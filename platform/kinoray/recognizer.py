"""A trained recognizer for one video at a time: ``load_recognizer(...).recognize("video.mp4").top(5)``."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.data.views import EvalView
from kinoray.errors import CheckpointError
from kinoray.models.base import Recognizer
from kinoray.models.weights import load_weights
from kinoray.recipe import Average, Recipe
from kinoray.train.batch import clip_on
from kinoray.train.checkpoint import open_checkpoint, read_weights
from kinoray.train.evaluate import average_views
from kinoray.video.open import open_video


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
        multi_label: whether every class is scored on its own.
    """

    def __init__(
        self,
        model: Recognizer,
        view: EvalView,
        classes: tuple[str, ...],
        average: Average,
        *,
        multi_label: bool = False,
    ) -> None:
        self.model, self.view, self.classes = model, view, classes
        self.average, self.multi_label = average, multi_label
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
        with open_video(str(video) if isinstance(video, Path) else video) as opened:
            views = self.view.read(opened, range(opened.num_frames))
        clips = clip_on(views.clip, views.colour, self.device)
        scores = average_views(self(clips).float(), self.average, multi_label=self.multi_label)
        return Recognition(scores[0].cpu().numpy(), self.classes)


def load_recognizer(
    source: str | Path, checkpoint: str | Path | None = None, *, device: str = "cpu", split: str = "val"
) -> VideoRecognizer:
    """Load a run or a checkpoint, or a recipe with weights from elsewhere.

    Args:
        source: a run's folder (its best checkpoint) or a checkpoint's folder; a recipe file if ``checkpoint`` is given.
            Paths or URIs.
        checkpoint: weights for the recipe: .safetensors, .pth, a checkpoint's or a run's folder.
        device: torch's name of the device.
        split: whose views are taken of a video, ``val`` or ``test``.

    Raises:
        CheckpointError: it is missing, incomplete or damaged, or does not fit the recipe.
        ConfigError: the recipe does not load.
    """
    if checkpoint is None:
        opened = open_checkpoint(source)
        recipe, classes = opened.recipe(), opened.classes()
        model = recipe.model.without_pretrained().build()
        opened.restore_model(model)
    else:
        recipe = Recipe.load(source)
        classes = recipe.data.class_names() or tuple(str(index) for index in range(recipe.model.num_classes))
        model = recipe.model.without_pretrained().build()
        report = load_weights(model, read_weights(str(checkpoint)), where=str(checkpoint))
        if report.fresh:
            raise CheckpointError(
                f"{checkpoint}: its head is of another number of classes than model.num_classes "
                f"({recipe.model.num_classes}) of {source}; give the recipe that it was trained with"
            )
    view = recipe.data.evaluation_split(split)
    average, multi_label = recipe.evaluation.average, recipe.data.multi_label
    return VideoRecognizer(model.to(device).eval(), view, classes, average, multi_label=multi_label)
