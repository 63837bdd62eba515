"""The run of one trial of a sweep, as light as it can be: curves and tags, no pictures."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from kinoray.errors import KinorayError
from kinoray.sweep.trials import TrialState
from kinoray.tracking.outbox import logger
from kinoray.tracking.run import RunTracker, Status
from kinoray.tracking.store import connect, quiet, refusals_named
from kinoray.tracking.summary import Point
from kinoray.tracking.training import RUN_NAME_TAG
from kinoray.train.events import BatchSeen, EpochDone, Event, Finished, Recalled

STATUS_TAG = "trial_status"
STATUS: Mapping[str, Status] = {"finished": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
"""Of a trial that is over -> of its run. MLflow marks what was killed like what failed; a pruned trial is neither."""
DELIVERY_SECONDS = 20.0
"""Longest that steps of a trial wait to be sent; they also go out with every epoch."""
RETRY_SECONDS = 15.0
MAX_RUNS_PER_PAGE = 1_000


class _Ending(NamedTuple):
    status: Status
    tags: Mapping[str, str]
    description: str
    num_epochs: int


class TrialRun:
    """The run of a trial, made when the store answers.

    Args:
        name: of the trial.
        open_run: makes the run, or continues it.
    """

    def __init__(self, name: str, open_run: Callable[[], RunTracker]) -> None:
        self.name = name
        self._open_run = open_run
        self._tracker: RunTracker | None = None
        self._waiting: list[Event] = []
        self._tags: dict[str, str] = {}
        self._delivered_at = time.monotonic()
        self._retry_at = 0.0
        self._num_epochs = 0
        self._ending: _Ending | None = None
        self._is_closed = False

    @property
    def run_id(self) -> str:
        """Empty as long as there is no run."""
        return "" if self._tracker is None else self._tracker.run_id

    def add(self, event: Event) -> None:
        """Take up an event; steps are sent in one go, with their epoch or after a while."""
        # What ended the trial is known better than by the event: a pruned one finishes, too.
        # And a checkpoint may hold the history of another trial, from which it was taken over.
        if isinstance(event, BatchSeen | Recalled) or (isinstance(event, Finished) and self._ending is not None):
            return
        if isinstance(event, EpochDone) and event.evaluation is not None:
            event = replace(event, evaluation=replace(event.evaluation, confusion=None, mistakes=()))
        if self._tracker is None:
            self._waiting.append(event)
        else:
            self._tracker.keep(event)
        if isinstance(event, EpochDone):
            self._num_epochs = event.epoch + 1
            self._close_if_complete()
        is_late = time.monotonic() - self._delivered_at > DELIVERY_SECONDS
        if is_late or isinstance(event, EpochDone | Finished):
            self._deliver()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run; those that it has cost nothing."""
        if tags.items() <= self._tags.items() and self._tracker is not None:
            return
        self._tags |= tags
        if self._tracker is not None:
            self._tracker.set_tags(tags)
        self._deliver()

    def end(self, status: Status, tags: Mapping[str, str], *, description: str, num_epochs: int = 0) -> None:
        """End the run, as soon as it has so many epochs; a second call does nothing.

        Who decides that a trial is over is not who tells of its epochs, and may be heard first.
        """
        if self._ending is None:
            self._tags |= tags
            self._ending = _Ending(status, tags, description, num_epochs)
            self._close_if_complete()

    def close(self) -> None:
        """End the run now, if that was asked for."""
        if self._ending is None or self._is_closed:
            return
        self._is_closed = True
        self._retry_at = 0.0
        self._deliver()
        if self._tracker is None:
            logger.warning("trial %s is not recorded: the store does not answer", self.name)
            return
        self._tracker.set_tags(self._ending.tags)
        self._tracker.finish(self._ending.status, description=self._ending.description)

    def _close_if_complete(self) -> None:
        if self._ending is not None and self._num_epochs >= self._ending.num_epochs:
            self.close()

    def _deliver(self) -> None:
        self._delivered_at = time.monotonic()
        if self._tracker is None and self._delivered_at >= self._retry_at:
            try:
                self._tracker = self._open_run()
            except KinorayError as error:
                self._retry_at = self._delivered_at + RETRY_SECONDS
                logger.warning("the run of trial %s waits: %s", self.name, error)
                return
            self._tracker.set_tags(self._tags)
            for event in self._waiting:
                self._tracker.keep(event)
            self._waiting.clear()
        if self._tracker is not None:
            self._tracker.deliver()


@dataclass(frozen=True)
class EarlierTrial:
    """The run that an earlier session made for a trial."""

    run_id: str
    run_status: str
    trial_status: str
    points: tuple[Point, ...]

    def is_recorded_as(self, state: TrialState) -> bool:
        """Whether nothing is left to be said of a trial that is over."""
        return self.trial_status == state.status and self.run_status == STATUS[state.status]


def earlier_trials(uri: str, parent: RunTracker, metric: str) -> dict[str, EarlierTrial]:
    """Trial name -> its run, of those below the run of a sweep."""
    client = connect(uri)
    condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.run_id}' and tags.kind = 'trial'"
    found: dict[str, EarlierTrial] = {}
    token = None
    with quiet(), refusals_named(uri):
        while True:
            page = client.search_runs(
                [parent.experiment_id], condition, max_results=MAX_RUNS_PER_PAGE, page_token=token
            )
            found |= {run.data.tags[RUN_NAME_TAG]: _earlier_trial(client, run, metric) for run in page}
            token = page.token
            if not token:
                return found


def _earlier_trial(client: MlflowClient, run: Run, metric: str) -> EarlierTrial:
    history = client.get_metric_history(run.info.run_id, metric) if metric in run.data.metrics else []
    points = sorted((point.step, point.value) for point in history)
    return EarlierTrial(run.info.run_id, run.info.status, run.data.tags.get(STATUS_TAG, ""), tuple(points))
