"""A sweep on real workers: the numbers of a training alone, early ends, workers that die, and going on."""

import signal
from contextlib import suppress

import psutil
import pytest
import yaml

from kinoray.cluster.sweep.plan import Plan, plan_sweep
from kinoray.cluster.sweep.run import run_sweep
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.cluster.sweep.tuning import number_of
from kinoray.cluster.sweep.watching import Watcher
from kinoray.cluster.training import train
from kinoray.site import Allocation, Capacity, Node
from kinoray.sweep.file import Sweep, SweepFinished, SweepStarted, TrialChanged, TrialEvent
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import EpochDone, Finished, Started, StepsDone

pytestmark = pytest.mark.ray
ONE = Allocation(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=1)
TWO_CPUS = Capacity((Node(2),))


@pytest.fixture
def sweep_run(tmp_path, recipe_values, site):
    """``sweep_run(name, **sweep's values)``: its plan, final states and events."""

    def run(name, workers=1, **values) -> tuple[Plan, tuple, list]:
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe_values))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"recipe": "small.yaml", **values}))
        each = site.model_copy(update={"workers": workers, "cpus_per_worker": 1 / workers})
        plan = plan_sweep(Sweep.load(tmp_path / f"{name}.yaml"), each, TWO_CPUS)
        events = []
        log = TrialLog(plan.folder)
        with log.opened(plan.sweep, plan.recipe):
            states = run_sweep(plan, log, [events.append])
        return plan, states, events

    return run


def epochs(events):
    """Metrics after each epoch."""
    return [event.evaluation.metrics for event in events if isinstance(event, EpochDone)]


def of_trial(events, number):
    return [event.event for event in events if isinstance(event, TrialEvent) and event.number == number]


def test_trials_give_the_numbers_of_a_training_alone(sweep_run, site):
    """Also after a trial that failed in the same process."""
    space = {"optimizer.lr": {"grid": [1e9, 0.05]}, "schedule": {"choice": {"cosine": [{"kind": "cosine"}]}}}
    plan, states, events = sweep_run("same", space=space, search="grid")
    assert plan.concurrency == 1
    assert [(state.trial.number, state.status) for state in states] == [(1, "finished"), (0, "failed")]
    assert "training diverged" in states[-1].error
    recipe = plan.sweep.recipe_of(plan.recipe, states[0].trial)
    alone: list = []
    train(recipe, recipe.data.load(8), site, ONE, run_name="alone", listeners=[alone.append])
    assert epochs(of_trial(events, 1)) == epochs(alone)
    assert open_checkpoint(states[0].checkpoint).metrics["top1"] == states[0].best
    _are_told_in_order(events)


def _are_told_in_order(events):
    assert isinstance(events[0], SweepStarted)
    assert isinstance(events[-1], SweepFinished)
    second = [event for event in events if isinstance(event, TrialChanged) and event.state.trial.number == 1]
    assert [(event.state.status, event.state.epoch) for event in second] == [
        ("waiting", 0),
        ("running", 0),
        ("running", 1),
        ("finished", 2),
    ]
    last_of_training = TrialEvent(1, next(event for event in of_trial(events, 1) if isinstance(event, Finished)))
    assert events.index(last_of_training) < events.index(second[-1])


def test_two_workers_train_a_trial_and_go_on_together(sweep_run):
    """After epochs with and without an evaluation, an early end, and a loss that all of them see diverge."""
    space = {"optimizer.lr": {"grid": [0.05, 1e9, 1e-6]}, "evaluation.every_epochs": {"choice": [2]}}
    values = {"scheduler": {"kind": "asha", "reduction_factor": 4}, "budget": {"epochs": 5}, "metric": "loss"}
    plan, states, events = sweep_run("two", workers=2, space=space, search="grid", **values)
    assert (plan.concurrency, plan.allocation.num_workers) == (1, 2)
    assert {state.trial.number: state.status for state in states} == {0: "finished", 1: "failed", 2: "pruned"}
    assert {state.trial.number: state.epoch for state in states}[2] < 5
    assert [event.epoch for event in of_trial(events, 0) if isinstance(event, EpochDone)] == [0, 1, 2, 3, 4]


def kill_workers():
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any("ray::RayTrainWorker" in word for word in process.cmdline()):
                process.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_costs_a_retry_or_its_trial(sweep_run, monkeypatch):
    """Killed where it waits for what becomes of its trial after a report, so that it is known which trial it has."""
    kills = {0: 1, 1: 2}
    hear = Watcher.on_trial_result

    def kill(self, *, trial, **others):
        number = number_of(trial)
        if kills.get(number):
            kills[number] -= 1
            kill_workers()
        hear(self, trial=trial, **others)

    monkeypatch.setattr(Watcher, "on_trial_result", kill)
    space = {"training.clip_grad_norm": {"grid": [1e6, 1e7, 1e8]}}  # none of them clips
    _, states, events = sweep_run("dying", space=space, search="grid", budget={"epochs": 3})
    status = {state.trial.number: (state.status, state.attempts) for state in states}
    assert status == {0: ("finished", 2), 1: ("failed", 2), 2: ("finished", 1)}
    assert "worker died" in next(state.error for state in states if state.trial.number == 1)
    assert sum(isinstance(event, Started) for event in of_trial(events, 0)) == 2
    whole = epochs(of_trial(events, 2))
    assert epochs(of_trial(events, 0))[-1] == whole[-1]


@pytest.mark.slow
def test_a_population_exchanges_checkpoints_and_changes_its_rates(sweep_run):
    """Trials go on from others' checkpoints with other rates, which their steps show."""
    space = {"optimizer.lr": {"loguniform": [1e-3, 0.3]}, "training.clip_grad_norm": {"choice": [1.0, 40.0]}}
    scheduler = {"kind": "pbt", "quantile": 0.5, "perturb": ["optimizer.lr"]}
    _, states, events = sweep_run("pbt", space=space, trials=4, scheduler=scheduler, budget={"epochs": 4})
    assert [(state.status, state.epoch) for state in states] == [("finished", 4)] * 4
    changes = [event.state for event in events if isinstance(event, TrialChanged) and event.state.resumed_from]
    taken = [state for state in changes if f"/{state.trial.name}/" not in state.resumed_from]
    assert taken
    number = taken[0].trial.number
    rates = {state.epoch: state.trial.values["optimizer.lr"] for state in changes if state.trial.number == number}
    steps = [event for event in of_trial(events, number) if isinstance(event, StepsDone)]
    assert len(set(rates.values())) > 1
    assert {step.epoch + 1: step.lr for step in steps if step.epoch} == rates
    assert all(0.001 <= rate <= 0.3 for rate in rates.values())
