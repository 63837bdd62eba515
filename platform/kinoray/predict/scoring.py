"""Scores, and if wanted features, of clips."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.recognizer import VideoRecognizer
from kinoray.train.evaluate import average_views

Precision = Literal["fp32", "bf16", "fp16"]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Scored:
    """Of N videos.

    Attributes:
        scores: ``(N, K)`` float32, averaged over views.
        embeddings: ``(N, D)`` float32, averaged over views; None where they were not wanted.
        seconds: that the model took.
    """

    scores: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None
    seconds: float


class Scorer:
    """A recognizer that scores batches.

    Args:
        recognizer: on its device.
        precision: of the model's arithmetic.
        compiled: whether ``torch.compile`` prepares it, which takes minutes and pays on a GPU.
        with_embeddings: whether to keep what goes into the classifier.

    Raises:
        ConfigError: embeddings are wanted of a model that has no head, or fp16 on a CPU.
    """

    def __init__(
        self, recognizer: VideoRecognizer, *, precision: Precision, compiled: bool, with_embeddings: bool
    ) -> None:
        self._recognizer, self._precision = recognizer, precision
        self.device = recognizer.device
        if precision == "fp16" and self.device.type == "cpu":
            raise ConfigError("--precision: fp16 on a CPU; use bf16 or fp32 there")
        self._features: list[Tensor] = []
        if with_embeddings:
            classifier(recognizer.model).register_forward_pre_hook(self._keep)
        self._with_embeddings = with_embeddings
        model = recognizer.model
        self._model = torch.compile(model) if compiled and isinstance(model, nn.Module) else model

    def __call__(self, clips: Tensor) -> Scored:
        """``(N, M, C, T, H, W)`` uint8 on the device."""
        started = time.perf_counter()
        recognizer = self._recognizer
        with torch.inference_mode(), self._autocast():
            logits = self._model(clips).float()
            scores = average_views(logits, recognizer.average, multi_label=recognizer.multi_label).cpu().numpy()
            embeddings = self._taken(len(clips)).cpu().numpy() if self._with_embeddings else None
        return Scored(scores, embeddings, time.perf_counter() - started)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _TYPES[self._precision])

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features.append(inputs[0].detach())

    def _taken(self, num_videos: int) -> Tensor:
        """``(N, D)``: the mean over all views, and over whatever else of a video the classifier sees one by one."""
        parts = [features.float().reshape(num_videos, -1, features.shape[-1]) for features in self._features]
        self._features.clear()
        return torch.cat(parts, dim=1).mean(dim=1)


def classifier(model: object) -> nn.Linear:
    """The layer whose input is the embedding, ``(..., D)``.

    Raises:
        ConfigError: the model has no single one.
    """
    head = model.head() if isinstance(model, Recognizer) else None
    linear = [part for part in (head.modules() if head is not None else ()) if isinstance(part, nn.Linear)]
    if len(linear) != 1:
        raise ConfigError(
            f"--embeddings: {type(model).__name__} has {len(linear)} classifiers, not one; its scores can be had alone"
        )
    return linear[0]
