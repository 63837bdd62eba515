"""Runs a sweep on a connected Ray: warm workers train, Ray Tune decides, the record in its folder remembers."""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig

from kinoray.cluster.mailbox import delivering
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.sweep.decisions import LearningSearch, build_scheduler
from kinoray.cluster.sweep.desk import open_desk
from kinoray.cluster.sweep.plan import Plan
from kinoray.cluster.sweep.slots import SlotTask, slot_worker
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.cluster.sweep.tuning import Shared, TrialDriver
from kinoray.cluster.sweep.watching import Watcher
from kinoray.cluster.training import StopAtOwnErrors, Trainer, own_error, worker_resources
from kinoray.errors import KinorayError, ResourceError
from kinoray.sweep.file import SweepEvent, SweepFinished, SweepListener, SweepStarted, TrialChanged, TrialEvent
from kinoray.sweep.trials import TrialState, ranked

QUIET_TUNE = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a job as everywhere; the record lets it go on
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # its own state is never read
    "RAY_AIR_NEW_OUTPUT": "0",
}
LEAVE_SECONDS = 15
logger = logging.getLogger(__name__)


def run_sweep(plan: Plan, log: TrialLog, listeners: Sequence[SweepListener]) -> tuple[TrialState, ...]:
    """Train every trial that is not over yet; returns all, the best first.

    Args:
        plan: of the sweep.
        log: its record, opened.
        listeners: hear of everything.

    Raises:
        KinorayError: what no trial can do without is missing.
    """
    planned = plan.sweep.planned(plan.recipe)
    announce = _Announcer(listeners)
    for event in (
        SweepStarted(plan.sweep, plan.recipe, planned, plan.folder),
        *map(TrialChanged, log.current().values()),
    ):
        announce(event)
    with delivering([announce]) as mailbox:
        watcher = Watcher(plan, log, mailbox)
        if not watcher.over.issuperset(range(plan.sweep.num_trials)):
            if not watcher.is_late:
                with working(plan, mailbox) as desk:
                    _tune(plan, log, watcher, desk)
            watcher.end()
    states = ranked(log.current().values(), plan.recipe.evaluation.monitor)
    announce(SweepFinished(states))
    return states


class _Announcer:
    """Hands a sweep's events to its listeners; one that fails is told of in the log and left out from then on."""

    def __init__(self, listeners: Sequence[SweepListener]) -> None:
        self.listeners = list(listeners)

    def __call__(self, happened: Any) -> None:
        event: SweepEvent = TrialEvent(*happened) if isinstance(happened, tuple) else happened
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("a listener failed and hears no more of this sweep")
                self.listeners.remove(listener)


@contextmanager
def working(plan: Plan, mailbox: Any) -> Iterator[Any]:
    """A desk with warm workers behind it: a Ray Train run for each trial that is trained at a time.

    Raises:
        KinorayError: what a worker raised that no trial can do without.
    """
    desk = open_desk()
    datasets = {key: ray.put(dataset.absolute()) for key, dataset in plan.datasets.items()}
    slots = [_Slot(plan, _task(plan, number, datasets, desk, mailbox)) for number in range(plan.concurrency)]
    try:
        yield desk
    except Exception:
        for slot in slots:
            if slot.error is not None:
                raise slot.error from None
        raise
    finally:
        desk.close.remote()  # whatever has happened: workers that wait for work would wait for ever
    until = time.monotonic() + LEAVE_SECONDS
    for slot in slots:
        slot.thread.join(max(0.0, until - time.monotonic()))


def _task(plan: Plan, slot: int, datasets: Mapping[str, Any], desk: Any, mailbox: Any) -> SlotTask:
    budget = DecodeBudget.of(plan.allocation)
    return SlotTask(
        slot=slot,
        sweep=plan.sweep,
        recipe=plan.recipe,
        datasets=datasets,
        desk=desk,
        mailbox=mailbox,
        storage=plan.folder,
        budget=replace(budget, object_store_bytes=budget.object_store_bytes // plan.concurrency),
        num_threads=plan.allocation.threads_per_worker,
        working_folder=str(Path.cwd()),
    )


class _Slot:
    """A group of workers, in a Train run that a thread of this process waits for."""

    def __init__(self, plan: Plan, task: SlotTask) -> None:
        self.plan, self.task = plan, task
        self.error: KinorayError | None = None
        self.thread = threading.Thread(target=self._run, name=f"kinoray-workers-{task.slot}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        plan = self.plan
        trainer = Trainer(
            slot_worker,
            train_loop_config={"task": self.task},
            scaling_config=ScalingConfig(
                num_workers=plan.allocation.num_workers,
                use_gpu=plan.allocation.gpus_per_worker > 0,
                resources_per_worker=worker_resources(plan.allocation),
            ),
            run_config=RunConfig(
                name=f".workers-{self.task.slot}",
                storage_path=plan.folder,
                failure_config=FailureConfig(max_failures=plan.sweep.num_trials * (1 + plan.sweep.max_retries)),
                logging_config=LoggingConfig(log_level="ERROR"),
                callbacks=[StopAtOwnErrors()],
            ),
        )
        try:
            trainer.fit()
        except Exception as failure:  # noqa: BLE001 - the sweep would wait for ever for workers that are not there
            self.error = own_error(failure) or ResourceError(f"the workers of a sweep cannot go on: {failure}")
            self.error.at_work = True
            with suppress(Exception):  # the session is over, and the desk with it
                self.task.desk.close.remote(str(self.error))


def _tune(plan: Plan, log: TrialLog, watcher: Watcher, desk: Any) -> None:
    """Let Ray Tune run the trials that are not over.

    Raises:
        ResourceError: another sweep of this kind runs on this node.
        RayError: the workers behind the desk are gone.
    """
    sweep = plan.sweep
    shared = Shared(
        sweep=sweep,
        monitor=plan.recipe.evaluation.monitor,
        seed=plan.recipe.seed,
        desk=desk,
        folder=plan.folder,
        reports=log.reports(),
        over=watcher.over,
    )
    os.environ.update({name: value for name, value in QUIET_TUNE.items() if name not in os.environ})
    planned = sweep.planned(plan.recipe)
    turns = sweep.scheduler.takes_turns
    # A population has to be there as a whole before any of it is compared; of others one may wait for its turn.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(sweep.num_trials if turns else 2)
    search, space = None, {}
    if planned is None:
        search = LearningSearch(sweep, list(log.states), watcher.begin, watcher.outcome)
    else:
        listed = [{"number": trial.number, "labels": dict(trial.labels)} for trial in planned]
        space = {"trial": tune.grid_search(listed)}
    driver = tune.with_parameters(TrialDriver, shared=shared)
    with tempfile.TemporaryDirectory(prefix="kinoray-tune-") as folder:
        results = tune.Tuner(
            tune.with_resources(driver, _resources_of_driver(plan.concurrency, turns=turns)),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=sweep.num_trials if planned is None else 1,
                scheduler=build_scheduler(sweep, plan.recipe, plan.num_epochs),
                max_concurrent_trials=None if turns else plan.concurrency,
                reuse_actors=True,
                time_budget_s=watcher.seconds_left,
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(fail_fast=True),
                callbacks=[watcher],
            ),
        ).fit()
    if results.errors:
        raise results.errors[0]


def _resources_of_driver(concurrency: int, *, turns: bool) -> dict[str, float]:
    """What Tune reserves for the process that stands for a trial: no CPU, but a place on this node.

    Where all trials take turns, none of them is over before the last ones begin, so Tune's own bound on the number at
    a time does not serve; then each takes so much of the node that only so many fit.
    """
    node = f"node:{ray.util.get_node_ip_address()}"
    share = round(1 / (concurrency + 0.5), 4) if turns else 0.0001
    if ray.available_resources().get(node, 0.0) < share * concurrency:
        raise ResourceError("scheduler: another sweep whose trials take turns runs from this node; wait for its end")
    return {"CPU": 0, node: share}


def _name_of(trial: Any) -> str:
    return f"trial-{trial.config['trial']['number']:05d}"
