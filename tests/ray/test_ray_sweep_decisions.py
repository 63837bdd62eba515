"""What Ray Tune makes of a sweep whose trainings are played: nothing waits for ever, and what is recorded stays."""

import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import yaml

from kinoray.cluster.sweep import run as run_module
from kinoray.cluster.sweep.desk import Ended, Failed, Report, open_desk
from kinoray.cluster.sweep.plan import plan_sweep
from kinoray.cluster.sweep.run import run_sweep
from kinoray.cluster.sweep.trial_log import STATES, TrialLog
from kinoray.site import Capacity, Node
from kinoray.sweep.file import Sweep

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]
LR, CLIP = "optimizer.lr", "training.clip_grad_norm"
NUM_EPOCHS = 4


class Player:
    """Plays workers: the nearer a rate is to 0.1 the better; above 1 it diverges, and below 0.01 it ends early."""

    def __init__(self, desk, *, every_epochs):
        self.desk, self.every_epochs, self.trained = desk, every_epochs, []

    def work(self, slot):
        while (job := ray.get(self.desk.next_job.remote(slot))) != "closed":
            if job is not None:
                self._train(slot, job)

    def _train(self, slot, job):
        rate = job.trial.values[LR]
        first = 0 if job.resume_from is None else int(job.resume_from.rpartition("-")[2]) + 1
        for epoch in range(first, NUM_EPOCHS):
            if rate > 1 or (rate < 0.01 and epoch == 1):
                self._tell(slot, job, Failed("diverged", again=False) if rate > 1 else Ended("a callback"))
                return
            self.trained.append((job.trial.number, epoch))
            value = (epoch + 1) / (1 + abs(rate - 0.1))
            is_last = epoch == NUM_EPOCHS - 1
            if (epoch + 1) % self.every_epochs:
                continue
            self._tell(slot, job, Report(epoch, value, f"{job.folder}/epoch-{epoch}", 1.0, is_last))
            if not is_last and self._decision(job) == "stop":
                return

    def _tell(self, slot, job, answer):
        ray.get(self.desk.tell.remote(slot, job.ticket, answer))

    def _decision(self, job):
        while (decision := ray.get(self.desk.decision.remote(job.ticket))) is None:
            pass
        return decision


@pytest.fixture
def play(tmp_path, recipe_values, site, monkeypatch):
    """``play(name, **sweep's values)``: its log, and (trial, epoch) of what was trained."""

    def run(name, *, every_epochs=1, **values):
        players = []

        @contextmanager
        def working(plan, mailbox):
            desk = open_desk()
            players.append(Player(desk, every_epochs=every_epochs))
            threads = [threading.Thread(target=players[0].work, args=(slot,)) for slot in range(plan.concurrency)]
            for thread in threads:
                thread.start()
            try:
                yield desk
            finally:
                ray.get(desk.close.remote())
                for thread in threads:
                    thread.join()

        monkeypatch.setattr(run_module, "working", working)
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe_values))
        file = {"recipe": "small.yaml", "budget": {"epochs": NUM_EPOCHS}, **values}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(file))
        here = site.model_copy(update={"workers": 1, "cpus_per_worker": 1, "storage": str(tmp_path / "runs")})
        plan = plan_sweep(Sweep.load(tmp_path / f"{name}.yaml"), here, Capacity((Node(2),)))
        log = TrialLog(plan.folder)
        with log.opened(plan.sweep, plan.recipe):
            run_sweep(plan, log, [])
        return log, players[0].trained if players else []

    return run


def outcome(log):
    """Status, values and metric of each trial."""
    current = sorted(log.current().items())
    return [(number, state.status, dict(state.trial.labels), state.epoch, state.best) for number, state in current]


def grid(*rates):
    return {"search": "grid", "space": {LR: {"grid": list(rates)}}}


def population(*rates, **scheduler):
    """Begins with these rates, which stay."""
    space = {LR: {"grid": list(rates)}, CLIP: {"uniform": [1.0, 40.0]}}
    return {"trials": len(rates), "space": space, "scheduler": {"kind": "pbt", "perturb": [CLIP], **scheduler}}


POPULATION = {"kind": "pbt", "quantile": 0.5, "resample": 0.5}


@pytest.mark.parametrize("last", [2.0, 0.005], ids=["fails", "ends"])
def test_a_population_does_not_wait_for_a_trial_that_is_over(play, last):
    """The one that the others wait for: Ray's own scheduler never calls them again."""
    log, trained = play("over", **population(0.3, 0.1, last))
    assert [state.epoch for _, state in sorted(log.current().items())][:2] == [4, 4]
    assert log.current()[2].status == ("failed" if last > 1 else "finished")
    assert len(trained) == len(set(trained))


def test_a_population_is_compared_where_it_is_evaluated(play):
    """Every second epoch, although the sweep asks for every one: Ray's own scheduler waits for what never comes."""
    log, _ = play("seldom", every_epochs=2, **population(0.3, 0.1))
    assert [(state.status, state.epoch) for state in log.current().values()] == [("finished", 4)] * 2


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "values",
    [
        {"scheduler": POPULATION, "trials": 4, "space": {LR: {"loguniform": [0.02, 0.9]}}},
        {"scheduler": {"kind": "asha", "reduction_factor": 2}, **grid(0.5, 0.1, 2.0, 0.9, 0.05)},
    ],
    ids=["population", "asha"],
)
def test_what_is_recorded_is_not_trained_again_wherever_a_sweep_was_cut_off(play, tmp_path, values):
    """As SIGKILL cuts it off, after any line of its record."""
    whole, all_trained = play("cut", **values)
    wanted, lines = outcome(whole), (tmp_path / "runs/cut" / STATES).read_text().splitlines(keepends=True)
    assert len(all_trained) == len(set(all_trained))
    for num_lines in range(2, len(lines), 6):
        (tmp_path / "runs/cut" / STATES).write_text("".join(lines[:num_lines]))
        known = {
            (number, state.epoch - 1) for number, states in TrialLog(whole.place).reports().items() for state in states
        }
        again, trained = play("cut", **values)
        assert outcome(again) == wanted, num_lines
        assert sorted(trained) == sorted(set(all_trained) - known), num_lines


@pytest.mark.slow
def test_a_sweep_whose_time_was_up_begins_again_only_with_more_time(play):
    hour = {"epochs": NUM_EPOCHS, "hours": 1}
    log, _ = play("late", **grid(0.1, 0.2, 0.3), budget=hour)
    kept = [replace(state, sweep_seconds=4000) for state in log.states if (state.trial.number, state.epoch) < (1, 3)]
    Path(log.place, STATES).write_text("".join(f"{state.to_json()}\n" for state in kept))
    again, trained = play("late", **grid(0.1, 0.2, 0.3), budget=hour)
    assert trained == []
    assert {number: state.error for number, state in again.current().items()} == {0: "", 1: "the sweep's time is up"}
    _, trained = play("late", **grid(0.1, 0.2, 0.3), budget={**hour, "hours": 2})
    assert {number for number, _ in trained} == {2}


@pytest.mark.slow
def test_fewer_trials_than_before_are_all_trained(play):
    log, _ = play("fewer", **grid(0.1, 0.2, 0.3))
    kept = [state.to_json() for state in log.states if state.trial.number != 0]
    Path(log.place, STATES).write_text("".join(f"{line}\n" for line in kept))
    again, trained = play("fewer", **grid(0.1, 0.2, 0.3), trials=2)
    assert {number for number, _ in trained} == {0}
    assert all(state.is_over for state in again.current().values())
