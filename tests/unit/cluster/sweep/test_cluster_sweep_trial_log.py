"""The record of a sweep: appended, read back, and kept from being mixed with another's."""

from pathlib import Path

import pytest

from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.errors import ConfigError, ResourceError
from kinoray.sweep.file import Sweep
from kinoray.sweep.trials import Trial, TrialState


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
    with log.opened(sweep(), make_recipe()):
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
    with again.opened(sweep(), make_recipe()):
        again.add(STORY[-1])
    assert TrialLog(told.place).states == STORY


def enter(log, *what):
    with log.opened(*what):
        return log.sweep_id


def test_another_sweep_does_not_go_on_in_its_folder(told, sweep, make_recipe):
    enter(TrialLog(told.place), sweep(trials=9, max_retries=4, budget={"hours": 2}), make_recipe())
    with pytest.raises(ConfigError, match=r"trials of another sweep \(sweep\.yaml has 'seed: 0'\); .*sweep\.name"):
        enter(TrialLog(told.place), sweep(search={"kind": "random", "seed": 1}), make_recipe())
    with pytest.raises(ConfigError, match=r"recipe\.yaml has"):
        enter(TrialLog(told.place), sweep(), make_recipe({"optimizer.momentum": 0.5}))


def test_values_that_change_places_make_another_sweep(tmp_path, sweep, make_recipe):
    """As two crops do: the same lines, in another order."""
    log = TrialLog(str(tmp_path / "sweep"))
    with log.opened(sweep(), make_recipe({"data.train.crop": 32, "data.val.crop": 40})):
        log.add(STORY[0])
    with pytest.raises(ConfigError, match=r"recipe\.yaml has 'crop: 32'"):
        TrialLog(log.place).check(sweep(), make_recipe({"data.train.crop": 40, "data.val.crop": 32}))


def test_a_sweep_is_run_by_one_process_at_a_time(told, sweep, make_recipe):
    with (
        TrialLog(told.place).opened(sweep(), make_recipe()),
        pytest.raises(ResourceError, match="another process runs it"),
    ):
        enter(TrialLog(told.place), sweep(), make_recipe())
    enter(TrialLog(told.place), sweep(), make_recipe())


def test_it_keeps_its_identity_as_long_as_its_folder(told, sweep, make_recipe, tmp_path):
    assert enter(TrialLog(told.place), sweep(), make_recipe()) == told.sweep_id != ""
    assert enter(TrialLog(str(tmp_path / "other")), sweep(), make_recipe()) != told.sweep_id


def test_nothing_is_lost_where_a_process_is_killed_while_it_writes(told, sweep, make_recipe, monkeypatch):
    """Opened again: what was there is neither emptied nor half written."""

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        enter(TrialLog(told.place), sweep(max_retries=4), make_recipe())
    monkeypatch.undo()
    again = TrialLog(told.place)
    assert again.states == STORY
    enter(again, sweep(), make_recipe())
