"""The workers of a sweep: a Ray Train run that lasts as long as the sweep and trains one trial after the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
import torch

from kinoray.cluster.ingest import RayFeed
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.sweep.desk import Answer, Ended, Failed, Job, Report
from kinoray.cluster.training import with_absolute_weights
from kinoray.cluster.worker import check_storage, enter_world
from kinoray.data.config import Dataset
from kinoray.errors import DivergenceError, KinorayError
from kinoray.recipe import Recipe
from kinoray.sweep.datasets import dataset_key
from kinoray.sweep.file import Sweep
from kinoray.train.events import Diverged, EpochDone, Event, Finished
from kinoray.train.loop import fit
from kinoray.train.store import RunStore, drop
from kinoray.train.world import World
from kinoray.video.files import without_passwords

PRUNED = "stopped by the sweep"


@dataclass(frozen=True)
class SlotTask:
    """All that a group of workers needs to know.

    Attributes:
        slot: its number.
        recipe: that all trials start from.
        datasets: key of ``dataset_key`` -> reference to it in the object store.
        desk: the actor that hands out jobs.
        mailbox: the actor that takes events, as pairs of a trial's number and an event.
        storage: of the sweep, a path or URI.
        working_folder: of the job; weights may be named relative to it.
    """

    slot: int
    sweep: Sweep
    recipe: Recipe
    datasets: Mapping[str, Any]
    desk: Any
    mailbox: Any
    storage: str
    budget: DecodeBudget
    num_threads: int
    working_folder: str


class StartAnewError(RuntimeError):
    """Some workers of a group have left a job that others are in: all of them are replaced."""


def slot_worker(config: Mapping[str, SlotTask]) -> None:
    """One worker of a group."""
    task = config["task"]
    check_storage(task.storage)
    world = enter_world(task.num_threads)
    datasets: dict[str, Dataset] = {}
    while (job := _next_job(task, world)) != "closed":
        _train(job, datasets, task, world)


def _next_job(task: SlotTask, world: World) -> Any:
    """A job or ``closed``, the same for every worker of the group."""
    while True:
        job = world.share(ray.get(task.desk.next_job.remote(task.slot)) if world.is_first else None)
        if job is not None:
            return job


def _train(job: Job, datasets: dict[str, Dataset], task: SlotTask, world: World) -> None:
    """Train a trial and tell how it ends; an error of ours ends the trial only.

    Args:
        job: says which.
        datasets: that this worker has used so far; takes the trial's.
        task: of the group.
        world: of the group.

    Raises:
        StartAnewError: other workers of the group may wait for this one.
    """
    line: _Line | None = None
    try:
        recipe = with_absolute_weights(task.sweep.recipe_of(task.recipe, job.trial), task.working_folder)
        if (key := dataset_key(recipe)) not in datasets:
            known = task.datasets.get(key)
            datasets[key] = ray.get(known) if known else recipe.data.load(recipe.model.num_classes)
        store = TrialStore(job, recipe)
        line = _Line(job, recipe, task, world, store)
        fit(recipe, RayFeed(recipe, datasets[key], world, task.budget), store, world, line, reason_to_end=line.reason)
        line.end()
    except KinorayError as error:
        tell(task, job, Failed(without_passwords(str(error)), again=False))
        # All workers make the same recipe and see the same loss; of other errors the rest of a group may know nothing.
        if world.size > 1 and line is not None and not isinstance(error, DivergenceError):
            raise StartAnewError(str(error)) from None  # not as its cause, which would end the sweep
    except Exception as error:
        tell(task, job, Failed(without_passwords(f"{type(error).__name__}: {error}"), again=True))
        raise StartAnewError(str(error)) from error
    if task.recipe.training.compile is not None:
        torch.compiler.reset()  # what was compiled of a function is counted, and past eight it is run as it is
    if world.device.type == "cuda":
        torch.cuda.empty_cache()


def tell(task: SlotTask, job: Job, answer: Answer) -> None:
    """Answer whoever submitted the job."""
    ray.get(task.desk.tell.remote(task.slot, job.ticket, answer))


class _Line:
    """The listener of a trial's training on one worker: passes events on, and waits at each report for the decision."""

    def __init__(self, job: Job, recipe: Recipe, task: SlotTask, world: World, store: "TrialStore") -> None:
        self.job, self.recipe, self.task, self.world, self.store = job, recipe, task, world, store
        self._train_seconds = 0.0
        self._held: Report | None = None
        self._reason = self._own_reason = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._own_reason = "" if self._reason else event.stopped
        if self.world.is_first and not (isinstance(event, Finished) and self._reason):
            posted = self.task.mailbox.put.remote((self.job.trial.number, event))
            if isinstance(event, EpochDone | Diverged | Finished):
                ray.get(posted)  # it is delivered before what the sweep makes of it
        if isinstance(event, EpochDone):
            self._on_epoch(event)

    def reason(self) -> str:
        """Why training is to end, the same on every worker; empty: go on."""
        return self._reason

    def end(self) -> None:
        """Training is done: tell it, with the last report where there is one."""
        if not self.world.is_first:
            return
        if self._held is not None:
            tell(self.task, self.job, self._held)
        elif not self._reason:
            tell(self.task, self.job, Ended(self._own_reason))

    def _on_epoch(self, event: EpochDone) -> None:
        evaluated = event.evaluation  # rank 0 alone has it
        is_last = event.epoch == self.recipe.training.epochs - 1
        self._train_seconds += event.seconds + (evaluated.seconds if evaluated else 0.0)
        if evaluated is not None:
            value = evaluated.metrics[self.recipe.evaluation.monitor]
            report = Report(event.epoch, value, event.checkpoint, self._train_seconds, is_last)
            self._train_seconds = 0.0
            if is_last:
                self._held = report  # what comes behind the last epoch belongs to the trial
            else:
                tell(self.task, self.job, report)
        if not is_last and self.world.share(evaluated is not None):
            self._reason = "" if self._decision() == "go" else PRUNED
            if self.world.is_first:
                self.store.prune()

    def _decision(self) -> Any:
        while True:
            asked = self.task.desk.decision.remote(self.job.ticket) if self.world.is_first else None
            decision = self.world.share(None if asked is None else ray.get(asked))
            if decision is not None:
                return decision


class TrialStore(RunStore):
    """The checkpoints of a trial, in its own folder; the sweep says from which one it goes on, and when to prune."""

    def __init__(self, job: Job, recipe: Recipe) -> None:
        # What is reported to the sweep is stored.
        super().__init__(
            job.folder,
            monitor=recipe.evaluation.monitor,
            keep_best=recipe.training.keep_best,
            in_background=False,
        )
        self.job, self._last = job, job.resume_from
        if job.resume_from is None:
            self._kept = {}  # what lies there is of an attempt that counts no more

    def newest(self) -> str | None:
        return self._last

    def prune(self) -> None:
        """Called when the sweep has noted the newest one."""
        if not self.job.keep_all:
            super().prune()

    def _after_storing(self, place: str) -> None:
        # Nothing goes before the sweep has noted what is new; it never hears of what is stored within an epoch.
        if self._last is not None and self._last != self.job.resume_from and "-step-" in self._last:
            drop(self._last)
            self._known().pop(self._last, None)
        self._last = place
