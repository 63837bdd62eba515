"""A callback that takes steps back: what a run without their batches comes to."""

from typing import Any

from pydantic import PrivateAttr

from kinoray.callbacks import CallbackConfig, StepEnd, Training
from kinoray.train.store import copied


class Undo(CallbackConfig):
    """After some steps, puts weights, statistics and momentum back to what they were before."""

    kind: str = "chaos_package.undo:Undo"
    steps: tuple[int, ...]

    _before: dict[str, Any] = PrivateAttr(default_factory=dict)

    def on_fit_start(self, training: Training) -> None:
        self._remember(training)

    def on_step_end(self, training: Training, end: StepEnd) -> None:
        if training.step in self.steps:
            training.net.load_state_dict(self._before["net"])
            training.optimizer.load_state_dict(self._before["optimizer"])
        self._remember(training)

    def _remember(self, training: Training) -> None:
        self._before = {
            "net": copied(training.net.state_dict()),
            "optimizer": copied(training.optimizer.state_dict()),
        }
