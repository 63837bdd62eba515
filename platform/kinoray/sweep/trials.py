"""The trials of a sweep: what each is to train, and how far it is."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, TypeAlias

from kinoray.metrics import merit
from kinoray.sweep.space import Label

Status: TypeAlias = Literal["waiting", "running", "finished", "pruned", "failed"]
OVER: tuple[Status, ...] = ("finished", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        number: counted from 0.
        values: dotted path -> value, what it sets in the recipe.
        seed: of the recipe.
        name: of its run.
        labels: dotted path -> word or number, as tables show the values.
    """

    number: int
    values: Mapping[str, Any]
    seed: int
    name: str
    labels: Mapping[str, Label] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialState:
    """How far a trial is.

    Attributes:
        epoch: epochs done.
        value: the metric after the last evaluated one.
        best: the best one so far; None where none was a number.
        best_epoch: the epoch it was reached in, counted from 0.
        checkpoint: of ``best``, a path or URI.
        latest: checkpoint after ``epoch``.
        resumed_from: checkpoint that the epochs since the one before it began from; of another trial where
            population-based training has exchanged them.
        seconds: wall time, waiting between trials included.
        train_seconds: of ``seconds``, in training steps and evaluations.
        error: why it failed, or who stopped it.
        attempts: times that it was begun or continued after a worker died.
        sweep_seconds: that the whole sweep had taken when this was noted, in all its sessions.
    """

    trial: Trial
    status: Status = "waiting"
    epoch: int = 0
    value: float | None = None
    best: float | None = None
    best_epoch: int | None = None
    checkpoint: str | None = None
    latest: str | None = None
    resumed_from: str | None = None
    seconds: float = 0.0
    train_seconds: float = 0.0
    error: str = ""
    attempts: int = 0
    sweep_seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Back from ``to_json``."""
        values = json.loads(line)
        return cls(**{**values, "trial": Trial(**values["trial"])})


def ranked(states: Iterable[TrialState], metric: str) -> tuple[TrialState, ...]:
    """The best first; those without a value last."""

    def key(state: TrialState) -> tuple[float, int]:
        return -merit(metric, state.best) if state.best is not None else float("inf"), state.trial.number

    return tuple(sorted(states, key=key))
