"""The record of a sweep: appended, read back, and kept from being mixed with another's."""

import pytest

from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.errors import ConfigError
from kinoray.sweep.file import Sweep, Trial, TrialState


@pytest.fixture
def sweep():
    def make(**values):
        space = {"optimizer.lr": {"uniform": [0.1, 1.0]}}
        return Sweep.model_validate({"recipe": "small.yaml", "trials": 3, "space": space, **values})

    return make


def state(number, status, epoch=0, latest=None, **values):
    return TrialState(Trial(number, {}, 0, f"sweep-{number:03d}"), status, epoch, latest=latest, **values)


STORY = [
    state(0, "waiting"),
    state(0, "running"),
    state(0, "running", 1, "a/0"),
    state(1, "waiting"),
    state(0, "pruned", 1, "a/0"),
    state(1, "running", 1, "b/0"),
    state(1, "finished", 2, "b/1", resumed_from="b/0"),
]


@pytest.fixture
def told(tmp_path, sweep, make_recipe):
    log = TrialLog(str(tmp_path / "sweep"))
    log.open(sweep(), make_recipe())
    for each in STORY:
        log.add(each)
    return log


def test_what_was_added_is_read_back(told):
    again = TrialLog(told.place)
    assert again.states == STORY
    assert {number: now.status for number, now in again.current().items()} == {0: "pruned", 1: "finished"}
    assert [(now.trial.number, now.epoch) for each in again.reports().values() for now in each] == [
        (0, 1),
        (1, 1),
        (1, 2),
    ]


def test_a_line_that_was_cut_off_is_dropped(told, tmp_path, sweep, make_recipe):
    path = tmp_path / "sweep" / "trials.jsonl"
    path.write_text(path.read_text()[:-20])
    again = TrialLog(told.place)
    assert again.states == STORY[:-1]
    again.open(sweep(), make_recipe())
    again.add(STORY[-1])
    assert TrialLog(told.place).states == STORY


def test_another_sweep_does_not_go_on_in_its_folder(told, sweep, make_recipe):
    again = TrialLog(told.place)
    again.open(sweep(trials=9, max_retries=4), make_recipe())
    with pytest.raises(ConfigError, match=r"trials of another sweep \(sweep\.yaml has 'seed: 0'\); .*sweep\.name"):
        TrialLog(told.place).open(sweep(search={"kind": "random", "seed": 1}), make_recipe())
    with pytest.raises(ConfigError, match=r"recipe\.yaml has"):
        TrialLog(told.place).open(sweep(), make_recipe({"optimizer.momentum": 0.5}))
