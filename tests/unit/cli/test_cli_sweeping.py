"""What a person reads of a sweep: a line a trial in a log, a table on a terminal, and in the end what is best."""

import io
import shlex
from dataclasses import replace

import pytest
import yaml
from rich.console import Console

from kinoray.cli import sweeping
from kinoray.cli.sweeping import SweepConsole, announce_sweep, close_sweep, leaderboard
from kinoray.cluster.sweep.plan import Plan
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.recipe import Recipe
from kinoray.site import Allocation
from kinoray.sweep.file import Sweep, SweepStarted, TrialChanged, TrialEvent
from kinoray.sweep.trials import TrialState, ranked
from kinoray.train.events import StepsDone

STEPS = StepsDone(0, 3, 1.25, 0.05, 2.0, 31.4, 0.07)


@pytest.fixture
def plan(tmp_path, recipe_values):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe_values))
    path = tmp_path / "try.yaml"
    path.write_text(
        "recipe: small.yaml\ntrials: 3\nscheduler: asha\nspace:\n  optimizer.lr: {uniform: [0.01, 0.1]}\n"
        "  schedule: {choice: {'[flat]': [], cosine: [{kind: cosine}]}}\n"
    )
    sweep = Sweep.load(path)
    recipe = sweep.load_recipe(["optimizer.momentum=0.8"])
    allocation = Allocation(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=1)
    return Plan(sweep, recipe, {}, 1, allocation, 2, str(tmp_path / "runs" / "try"))


@pytest.fixture
def states(plan):
    first, second, third = plan.sweep.planned(plan.recipe)
    return (
        TrialState(first, "finished", 2, 0.4, 0.5, 0, "runs/a/epoch-0000", seconds=3.0, attempts=1),
        TrialState(second, "pruned", 1, 0.25, 0.25, 0, "runs/b/epoch-0000", seconds=2.0, error="asha", attempts=1),
        TrialState(third, "failed", error="training diverged: the loss is nan\nsecond line", attempts=1),
    )


def shown(*events, console=None):
    console = console or Console(file=io.StringIO(), highlight=False, soft_wrap=True, width=200)
    with SweepConsole(console) as view:
        for event in events:
            view(event)
    return console.file.getvalue()


def test_a_log_gets_a_line_for_each_trial_that_ends(plan, states):
    started = SweepStarted(plan.sweep, plan.recipe, None, "runs/try")
    begun = [TrialChanged(TrialState(state.trial, "running")) for state in states]
    lines = shown(started, *begun, TrialEvent(0, STEPS), *map(TrialChanged, states)).splitlines()
    first, second, _ = states
    assert lines[0].startswith(f"try-000 finished optimizer.lr={first.trial.labels['optimizer.lr']} schedule=")
    assert "val/top1 0.500 after epoch 2 of 2  [1/3] about " in lines[0]
    assert second.trial.name in lines[1]
    assert "asha" not in lines[1]
    assert lines[2].rstrip().endswith("training diverged: the loss is nan  [3/3]")


def test_trials_of_an_earlier_session_are_not_told_again(plan, states):
    started = SweepStarted(plan.sweep, plan.recipe, None, "runs/try")
    assert shown(started, *map(TrialChanged, states)) == ""


def test_changed_values_and_long_trials_are_told(plan, states, monkeypatch):
    started = SweepStarted(plan.sweep, plan.recipe, None, "runs/try")
    running = replace(states[0], status="running")
    perturbed = replace(running, trial=replace(running.trial, labels={"optimizer.lr": 0.09}))
    assert "try-000 now with optimizer.lr=0.09" in shown(started, TrialChanged(running), TrialChanged(perturbed))
    again = (started, TrialChanged(running), TrialChanged(running))
    assert shown(*again) == ""
    monkeypatch.setattr(sweeping, "PLAIN_LINE_SECONDS", -1)
    assert "try-000 running optimizer.lr=" in shown(*again)


def test_a_terminal_gets_one_table_best_first(plan, states):
    console = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})
    running = TrialState(states[2].trial, "running", attempts=1)
    started = SweepStarted(plan.sweep, plan.recipe, None, "runs/try")
    output = shown(started, TrialChanged(states[1]), TrialChanged(running), TrialEvent(2, STEPS), console=console)
    assert "31 videos/s" in output
    assert "1 running, 1 pruned" in output


def test_names_are_no_markup(plan, states):
    console = Console(file=io.StringIO(), width=120)
    console.print(leaderboard(ranked(states, "top1"), tuple(plan.sweep.space), "top1"))
    assert "[flat]" in console.file.getvalue()
    assert "seed" not in console.file.getvalue()


def test_seeds_are_shown_where_they_differ(plan, states):
    console = Console(file=io.StringIO(), width=120)
    other = replace(states[1], trial=replace(states[1].trial, seed=7))
    console.print(leaderboard([states[0], other], tuple(plan.sweep.space), "top1"))
    assert "seed" in console.file.getvalue()


def test_the_sweep_is_announced_in_one_line(plan, states):
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True, width=400)
    log = TrialLog(plan.folder)
    announce_sweep(console, plan, log)
    with log.opened(plan.sweep, plan.recipe):
        log.add(states[0])
    announce_sweep(console, plan, log)
    first, _, second = console.file.getvalue().splitlines()
    assert first == (
        "try: 3 trials of small over optimizer.lr, schedule; random search, scheduler asha, up to 2 epochs, by "
        "val/top1; one at a time, 1 worker x 1 CPU + 1 decode CPU"
    )
    assert second.endswith("try: 1 of 3 trials are done")


def test_the_end_says_how_to_train_the_best_again(plan, states):
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True, width=400)
    log = TrialLog(plan.folder)
    with log.opened(plan.sweep, plan.recipe):
        pass
    places = [("model", ""), ("MLflow", "http://here/[1]")]
    best_first = ranked(states, "top1")
    close_sweep(console, plan, log, best_first, overrides=["optimizer.momentum=0.8"], places=places)
    output = console.file.getvalue()
    assert "3 trials: 1 finished, 1 pruned, 1 failed" in output
    assert "MLflow: http://here/[1]" in output
    assert "model:" not in output
    command = next(line for line in output.splitlines() if line.startswith("train it again: "))
    python, job, path, *settings = shlex.split(command.removeprefix("train it again: "))
    assert (python, job) == ("python", "jobs/train.py")
    again = Recipe.load(path, settings[1::2])
    assert again.replace({"name": "x"}) == Recipe.load(f"{plan.folder}/best.yaml").replace({"name": "x"})
    best = best_first[0].trial
    assert (again.optimizer.lr, again.optimizer.momentum) == (best.values["optimizer.lr"], 0.8)
