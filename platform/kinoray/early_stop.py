"""Ending a training that no longer gets better. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kinoray.callbacks import CallbackConfig
from kinoray.metrics import SMALLER_IS_BETTER

if TYPE_CHECKING:
    from kinoray.callbacks import Training
    from kinoray.recipe import Recipe
    from kinoray.train.events import Evaluation


class EarlyStop(CallbackConfig):
    """Ends training when a metric of ``data.val`` has not got better for some epochs.

    A run that was ended stays so when it is resumed, unless ``patience`` is raised or something else is watched.
    """

    kind: str = "early_stop"
    patience: int = Field(gt=0)
    """Epochs since the best one; looked at where an epoch is evaluated."""
    monitor: str | None = None
    """Default: ``evaluation.monitor``."""
    min_delta: float = Field(0.0, ge=0)
    """By how much more than this a value must be better than the best one."""
    mode: Literal["max", "min"] | None = None
    """What is better; default: ``min`` for ``loss`` and ``calibration_error``, ``max`` for all others."""

    _watched: str = ""
    """Of what the rest is remembered: mode and metric."""
    _best: float | None = None
    _best_epoch: int = -1
    _waited: int = 0

    def check(self, recipe: Recipe) -> None:
        if recipe.data.val is None:
            raise ValueError("data.val, got none; it should name videos to watch, or leave early_stop out")
        if self.monitor is not None and self.monitor not in recipe.measured:
            raise ValueError(f"monitor, got {self.monitor}; it should be one of {', '.join(recipe.measured)}")

    def on_fit_start(self, training: Training) -> None:
        name = self._monitored(training)
        watched = f"{self._better(name)} {name}"
        if self._watched != watched:  # also of a run that goes on with an early stop that is new
            self._watched, self._best, self._best_epoch, self._waited = watched, None, training.epoch, 0
        self._stop_if_due(training)

    def on_evaluate_end(self, training: Training, evaluation: Evaluation) -> None:
        name = self._monitored(training)
        value = evaluation.metrics[name]
        if self._is_better(value, name):
            self._best, self._best_epoch = value, training.epoch
        self._waited = training.epoch - self._best_epoch
        self._stop_if_due(training)

    def state(self) -> dict[str, Any]:
        return {
            "watched": self._watched,
            "best": self._best,
            "best_epoch": self._best_epoch,
            "waited": self._waited,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._watched, self._best = state["watched"], state["best"]
        self._best_epoch, self._waited = state["best_epoch"], state["waited"]

    def _monitored(self, training: Training) -> str:
        return self.monitor or training.recipe.evaluation.monitor

    def _better(self, name: str) -> Literal["max", "min"]:
        return self.mode or ("min" if name in SMALLER_IS_BETTER else "max")

    def _is_better(self, value: float, name: str) -> bool:
        if self._best is None:
            return value == value  # noqa: PLR0124 - NaN is not
        gain = value - self._best if self._better(name) == "max" else self._best - value
        return gain > self.min_delta

    def _stop_if_due(self, training: Training) -> None:
        if self._waited < self.patience:
            return
        best = "none so far" if self._best is None else f"{self._best:.4g} in epoch {self._best_epoch + 1}"
        training.stop(f"val/{self._monitored(training)} no better for {self._waited} epochs; best: {best}")
