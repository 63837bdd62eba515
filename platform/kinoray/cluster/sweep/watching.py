"""What Ray Tune's loop tells of a sweep, put into its record and passed on."""

import math
import time
from dataclasses import replace
from typing import Any

from ray import tune

from kinoray.cluster.sweep.plan import Plan
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.cluster.sweep.tuning import News, number_of
from kinoray.metrics import merit
from kinoray.sweep.file import TrialChanged
from kinoray.sweep.space import Point
from kinoray.sweep.trials import TrialState

TIME_UP = "the sweep's time is up"


class Watcher(tune.Callback):  # type: ignore[misc]
    """Hears of every step of every trial, notes it in the record, and lets it be told."""

    def __init__(self, plan: Plan, log: TrialLog, mailbox: Any) -> None:
        self.plan, self.log, self.mailbox = plan, log, mailbox
        self.states = log.current()
        self.over = frozenset(number for number, state in self.states.items() if state.is_over)
        self._began_at = time.monotonic() - max((state.sweep_seconds for state in log.states), default=0.0)

    def begin(self, number: int, labels: Point) -> None:
        """A trial is thought out."""
        self._note(TrialState(self.plan.sweep.trial(number, labels, self.plan.recipe.seed)))

    def outcome(self, number: int) -> float | None:
        """The merit of a trial; None where it failed."""
        state = self.states[number]
        measured = None if state.status == "failed" else state.best
        return None if measured is None else merit(self.plan.recipe.evaluation.monitor, measured)

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        number = number_of(trial)
        if number not in self.states:
            self.begin(number, trial.config["trial"]["labels"])
        if self.states[number].status == "waiting":
            self._note(replace(self.states[number], status="running", attempts=1))

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        news: News = result["news"]
        number = number_of(trial)
        if not news.is_replayed:
            self._note(self._moved(self.states[number], news))

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        state = self.states[number_of(trial)]
        if not state.is_over:
            who = TIME_UP if self.is_late else self.plan.sweep.scheduler.kind
            self._note(replace(state, status="pruned", error=who))

    def end(self) -> None:
        """Tune does not tell of trials that it ends because the sweep's time is up."""
        for state in self.states.values():
            if not state.is_over and self.is_late:
                self._note(replace(state, status="pruned", error=TIME_UP))

    @property
    def sweep_seconds(self) -> float:
        """That the sweep has taken so far, in all its sessions."""
        return time.monotonic() - self._began_at

    @property
    def seconds_left(self) -> float | None:
        """Of the sweep's time; None where it has no end."""
        hours = self.plan.sweep.budget.hours
        return None if hours is None else hours * 3600 - self.sweep_seconds

    @property
    def is_late(self) -> bool:
        left = self.seconds_left
        return left is not None and left <= 0

    def _moved(self, state: TrialState, news: News) -> TrialState:
        trial = self.plan.sweep.trial(state.trial.number, news.labels, self.plan.recipe.seed)
        state = replace(
            state,
            trial=trial,
            seconds=state.seconds + news.seconds,
            train_seconds=state.train_seconds + news.train_seconds,
            attempts=max(state.attempts, news.attempts),
        )
        if news.value is not None:
            state = replace(
                state, epoch=news.epoch, value=news.value, latest=news.checkpoint, resumed_from=news.resumed_from
            )
            monitor = self.plan.recipe.evaluation.monitor
            is_better = state.best is None or merit(monitor, news.value) >= merit(monitor, state.best)
            if is_better and not math.isnan(news.value):
                state = replace(state, best=news.value, best_epoch=news.epoch - 1, checkpoint=news.checkpoint)
        if news.is_last:
            state = replace(state, status="failed" if news.error else "finished", error=news.error or news.reason)
        return state

    def _note(self, state: TrialState) -> None:
        state = replace(state, sweep_seconds=self.sweep_seconds)
        self.states[state.trial.number] = state
        self.log.add(state)
        self.mailbox.put.remote(TrialChanged(state))
