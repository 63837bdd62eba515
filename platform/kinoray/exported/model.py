"""What an exported file holds besides the network, and the network when the file is open."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from pydantic import Field, ValidationError
from torch import Tensor

import kinoray
from kinoray.config.base import Config
from kinoray.data.views import EvalView
from kinoray.errors import CheckpointError
from kinoray.recipe import Average

KEY = "kinoray.json"
"""Under which a file keeps its facts."""
INPUT, OUTPUT = "clips", "logits"


class Facts(Config):
    """What makes a network's scores mean something."""

    classes: tuple[str, ...] = Field(min_length=1)
    """K names."""
    view: EvalView
    """How a video becomes clips."""
    average: Average
    """How views become one score."""
    multi_label: bool = False
    """Whether every class is scored on its own."""
    recipe: str = ""
    """The recipe that it was trained by, as YAML; for people to read."""
    kinoray: str = kinoray.__version__
    """The version that wrote it."""

    @classmethod
    def read(cls, text: str, where: str) -> Self:
        """From the JSON in a file.

        Raises:
            CheckpointError: it is none of ours.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the text"
            raise CheckpointError(
                f"{where}: the facts in it ({KEY}) cannot be read, {place}: {first['msg']}; it should be a file that "
                "jobs/export.py wrote"
            ) from error

    def view_shape(self, num_channels: int) -> tuple[int, ...]:
        """``(C, T, H, W)`` of one view."""
        _, clip_len = self.view.sampling.shape(is_training=False)
        return num_channels, clip_len, self.view.crop, self.view.crop


class ExportedModel:
    """An open file: ``(N, M, C, T, H, W)`` uint8 clips in, ``(N, M, K)`` logits out.

    Args:
        run: does that, for clips on ``device``.
        device: where it takes its clips.
        facts: that the file holds.
        path: the file on this machine.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], device: torch.device, facts: Facts, path: Path) -> None:
        self._run, self.device, self.facts, self.path = run, device, facts, path

    def __call__(self, clips: Tensor) -> Tensor:
        return self._run(clips)
