"""What a run has told of itself so far, kept in its checkpoints: what a killed process told nobody is told again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinoray.train.events import BadVideo, EpochDone, Evaluation, Mistake, Recalled, StepsDone

_COLUMNS = tuple(column.name for column in fields(StepsDone))
_row = attrgetter(*_COLUMNS)
_KINDS = {kind.__name__: kind for kind in (BadVideo, EpochDone, Evaluation, Mistake)}


@dataclass
class History:
    """Figures of all steps and epochs; of the last and of the best epoch also what pictures and tables are made of."""

    steps: list[StepsDone] = field(default_factory=list)
    epochs: list[EpochDone] = field(default_factory=list)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "History":
        """What ``state`` gave."""
        kinds: dict[str, Any] = {column.name: column.type for column in fields(StepsDone)}  # int or float
        columns = state.get("columns", _COLUMNS)
        steps = [
            StepsDone(**{name: kinds[name](value) for name, value in zip(columns, row, strict=True) if name in kinds})
            for row in state["steps"].tolist()
        ]
        return cls(steps, [_event(plain) for plain in state["epochs"]])

    def add(self, event: StepsDone | EpochDone) -> None:
        if isinstance(event, StepsDone):
            self.steps.append(event)
            return
        best = max((number for number, epoch in enumerate(self.epochs) if epoch.is_best), default=None)
        if self.epochs and (event.is_best or best != len(self.epochs) - 1):
            self.epochs[-1] = _figures(self.epochs[-1])
        if best is not None and event.is_best:
            self.epochs[best] = _figures(self.epochs[best])
        self.epochs.append(event)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        rows = np.array([_row(step) for step in self.steps], dtype=np.float64).reshape(-1, len(_COLUMNS))
        epochs = [_plain(epoch) for epoch in self.epochs]
        return {"columns": list(_COLUMNS), "steps": torch.from_numpy(rows), "epochs": epochs}

    def recalled(self) -> Recalled:
        """All of it, to be told again."""
        return Recalled(tuple(sorted((*self.steps, *self.epochs), key=lambda event: event.step)))


def _figures(event: EpochDone) -> EpochDone:
    """An epoch without what weighs."""
    evaluation = event.evaluation
    if evaluation is not None:
        evaluation = replace(evaluation, confusion=None, mistakes=(), bad_videos=())
    return replace(event, evaluation=evaluation, bad_videos=())


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        named = {column.name: _plain(getattr(value, column.name)) for column in fields(value)}
        return {"": type(value).__name__, **named}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _event(plain: Any) -> Any:
    if isinstance(plain, Tensor):
        return plain.numpy()
    if isinstance(plain, dict):
        values = {key: _event(item) for key, item in plain.items() if key}
        return _KINDS[plain[""]](**values) if "" in plain else values
    return tuple(_event(item) for item in plain) if isinstance(plain, list) else plain
