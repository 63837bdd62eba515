"""What a record takes up of a trial's news."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kinoray.cluster.sweep.plan import Plan
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.cluster.sweep.tuning import News
from kinoray.cluster.sweep.watching import Watcher
from kinoray.site import Allocation
from kinoray.sweep.file import Sweep


class Named:
    """What a trial of Tune's has that is used."""

    config = {"trial": {"labels": {"optimizer.lr": 0.1}}}  # noqa: RUF012 - never changed

    def __str__(self):
        return "trial-00000"


@pytest.fixture
def watch(tmp_path, make_recipe):
    """A watcher of a sweep by loss, and ``hear(*values)``: of one epoch after the other of trial 0."""
    space = {"optimizer.lr": {"grid": [0.1]}}
    sweep = Sweep.model_validate({"recipe": "small.yaml", "space": space, "search": "grid", "budget": {"hours": 1}})
    allocation = Allocation(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=1)
    recipe = make_recipe({"evaluation.monitor": "loss"})
    plan = Plan(sweep, recipe, {}, 1, allocation, 4, str(tmp_path / "sweep"))
    log = TrialLog(plan.folder)
    mailbox = SimpleNamespace(put=SimpleNamespace(remote=lambda event: None))
    trial = Named()
    with log.opened(sweep, recipe):
        watcher = Watcher(plan, log, mailbox)
        watcher.on_trial_start(trial=trial)

        def hear(*values, **more):
            for epoch, value in enumerate(values, start=1):
                news = News(
                    **{
                        "labels": {"optimizer.lr": 0.1},
                        "epoch": epoch,
                        "value": value,
                        "checkpoint": f"epoch-{epoch - 1}",
                        "resumed_from": None,
                        "seconds": 2.0,
                        "train_seconds": 1.0,
                        "attempts": 1,
                        **more,
                    }
                )
                watcher.on_trial_result(trial=trial, result={"news": news})
            return watcher.states[0]

        yield watcher, hear


def test_the_best_is_the_best_number_by_the_metrics_own_direction(watch):
    watcher, hear = watch
    state = hear(math.nan)
    assert (state.best, state.checkpoint, watcher.outcome(0)) == (None, None, None)
    state = hear(math.nan, 0.7, 0.5, 0.6, math.nan)
    assert (state.best, state.best_epoch, state.checkpoint, watcher.outcome(0)) == (0.5, 2, "epoch-2", -0.5)
    assert (state.epoch, state.latest) == (5, "epoch-4")


def test_attempts_of_earlier_sessions_are_not_forgotten(watch):
    _, hear = watch
    assert hear(0.5, attempts=2).attempts == 2
    assert hear(0.4).attempts == 2


def test_time_of_earlier_sessions_counts(watch):
    watcher, hear = watch
    hear(0.5)
    assert 3590 < watcher.seconds_left <= 3600
    watcher.log.states[-1] = replace(watcher.states[0], sweep_seconds=3000.0)
    assert 590 < Watcher(watcher.plan, watcher.log, watcher.mailbox).seconds_left <= 600
