"""The trials of a sweep in Ray Tune's terms: they only pass on what warm workers do.

Tune's own state is not needed to go on with a sweep: a new Tune is told what the record holds, report by report, and so
searches and schedulers come to know what they knew.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray import tune

from kinoray.cluster.sweep.desk import Answer, Ended, Failed, Job
from kinoray.metrics import merit
from kinoray.sweep.file import Sweep
from kinoray.sweep.space import Point
from kinoray.sweep.trials import Trial, TrialState

WORST = -1e30
"""Merit of a trial that failed or whose metric is no number."""
TIME, MERIT = "epoch", "merit"


@dataclass(frozen=True)
class Shared:
    """What all trials need.

    Attributes:
        monitor: the metric.
        seed: of trials where the sweep says none.
        desk: the actor that hands jobs to workers.
        folder: of the sweep, a path or URI.
        reports: of an earlier session: trial -> its states, one a report.
        over: trials that ended then.
    """

    sweep: Sweep
    monitor: str
    seed: int
    desk: Any
    folder: str
    reports: Mapping[int, list[TrialState]]
    over: frozenset[int]


@dataclass(frozen=True)
class News:
    """What a trial has to tell after a step.

    Attributes:
        labels: it was trained with.
        epoch: epochs done.
        value: of the metric; None where nothing new was measured.
        is_replayed: known from an earlier session.
        is_last: the trial is at its end; ``error`` says why where it failed, ``reason`` where it ended early.
    """

    labels: Point
    epoch: int
    value: float | None
    checkpoint: str | None
    resumed_from: str | None
    seconds: float
    train_seconds: float
    attempts: int
    is_replayed: bool = False
    is_last: bool = False
    error: str = ""
    reason: str = ""


class TrialDriver(tune.Trainable):  # type: ignore[misc]
    """A trial to Tune. A step is an evaluated epoch; a checkpoint only names the place of a real one."""

    def setup(self, config: dict[str, Any], shared: Shared) -> None:
        self._shared = shared
        self._course = self._begun(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._course.leave()
        self._course = self._begun(new_config)
        return True

    def step(self) -> dict[str, Any]:
        news = self._course.step()
        value = self._course.at.value
        worth = WORST if news.error or value is None else merit(self._shared.monitor, value)
        return {TIME: news.epoch, MERIT: worth if math.isfinite(worth) else WORST, "done": news.is_last, "news": news}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        del checkpoint_dir  # Tune writes the mapping
        return asdict(self._course.at)

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._course.at = Position(**checkpoint)

    def cleanup(self) -> None:
        self._course.leave()

    def _begun(self, config: dict[str, Any]) -> "Course":
        # By its name: what population-based training copies from another trial has that one's number.
        number = number_of(self.trial_name)
        return Course(self._shared, self._shared.sweep.trial(number, config["trial"]["labels"], self._shared.seed))


@dataclass(frozen=True)
class Position:
    """Where a trial is: epochs done, the metric then, and the checkpoint's place."""

    epoch: int = 0
    value: float | None = None
    latest: str | None = None


class Course:
    """A trial with values that stay: what is known of it from an earlier session, then what workers make of it.

    Attributes:
        at: how far it is.
    """

    def __init__(self, shared: Shared, trial: Trial) -> None:
        self.shared, self.trial, self.at = shared, trial, Position()
        self._attempts = 1
        self._ticket: int | None = None
        self._since = time.monotonic()

    def step(self) -> News:
        """The next evaluated epoch, or the end."""
        news = self._replayed() or self._trained()
        if news.value is not None:
            self.at = Position(news.epoch, news.value, news.checkpoint)
        return news

    def leave(self) -> None:
        """Let workers go that are not done with this trial."""
        if self._ticket is not None:
            ray.get(self.shared.desk.decide.remote(self._ticket, "stop"))
        self._ticket = None

    def _replayed(self) -> News | None:
        number, labels = self.trial.number, dict(self.trial.labels)
        known = self.shared.reports.get(number, [])
        for state in known:
            continues = state.epoch > self.at.epoch and state.resumed_from == self.at.latest
            if continues and dict(state.trial.labels) == labels:
                # Only what was the end then: of a trial that failed later, the scheduler has heard this report.
                is_last = state.is_over
                return self._news(state.epoch, state.value, state.latest, is_replayed=True, is_last=is_last)
        if number not in self.shared.over:
            return None
        return self._news(self.at.epoch, None, None, is_replayed=True, is_last=True)

    def _trained(self) -> News:
        answer = self._answer()
        while isinstance(answer, Failed):
            self._ticket = None
            if not answer.again or self._attempts > self.shared.sweep.max_retries:
                return self._news(self.at.epoch, None, None, is_last=True, error=answer.error)
            self._attempts += 1
            answer = self._answer()
        if isinstance(answer, Ended):
            self._ticket = None
            return self._news(self.at.epoch, None, None, is_last=True, reason=answer.reason)
        if answer.is_last:
            self._ticket = None
        return self._news(
            answer.epoch + 1,
            answer.value,
            answer.checkpoint,
            is_last=answer.is_last,
            train_seconds=answer.train_seconds,
        )

    def _answer(self) -> Answer:
        """The workers' next word: of those that wait for a decision, or of others that get the trial as a job."""
        desk = self.shared.desk
        if self._ticket is None:
            self._ticket = ray.get(desk.submit.remote(self._job()))
        else:
            ray.get(desk.decide.remote(self._ticket, "go"))
        answer: Answer | None = None
        while answer is None:
            answer = ray.get(desk.answer.remote(self._ticket))
        return answer

    def _job(self) -> Job:
        return Job(
            trial=self.trial,
            folder=f"{self.shared.folder}/{self.trial.name}",
            resume_from=self.at.latest,
            keep_all=self.shared.sweep.scheduler.takes_turns,
        )

    def _news(
        self,
        epoch: int,
        value: float | None,
        checkpoint: str | None,
        *,
        train_seconds: float = 0.0,
        is_replayed: bool = False,
        is_last: bool = False,
        error: str = "",
        reason: str = "",
    ) -> News:
        since, self._since = self._since, time.monotonic()
        return News(
            labels=self.trial.labels,
            epoch=epoch,
            value=value,
            checkpoint=checkpoint,
            resumed_from=self.at.latest,
            seconds=self._since - since,
            train_seconds=train_seconds,
            attempts=self._attempts,
            is_replayed=is_replayed,
            is_last=is_last,
            error=error,
            reason=reason,
        )


def number_of(trial: Any) -> int:
    """The number of a trial of Tune's, or that of its name."""
    return int(str(trial).rpartition("-")[2])
