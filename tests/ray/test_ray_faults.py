"""What breaks while a run is on: a worker is killed, an error would come again, a listener fails."""

from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from kinoray.cluster.mailbox import delivering
from kinoray.cluster.training import check_run, train
from kinoray.errors import CheckpointError, DataError
from kinoray.site import Allocation
from kinoray.train.events import EpochDone, Finished, Started, StepsDone

pytestmark = pytest.mark.ray
ONE = Allocation(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=1)


def run(recipe, site, name, *listeners):
    events = []
    train(recipe, recipe.data.load(8), site, ONE, run_name=name, listeners=[events.append, *listeners])
    return events


def losses(events):
    """Step -> loss; of a step that was computed again, the later one."""
    return {event.step: event.loss for event in events if isinstance(event, StepsDone)}


def kill_the_worker():
    """SIGKILL to the process that trains; another test may have one, too, in a Ray of its own."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("ray::RayTrainWorker" in word for word in process.cmdline()):
                process.kill()


def test_a_killed_worker_costs_a_restart_and_nothing_else(make_recipe, site):
    unbroken = run(make_recipe(), site, "unbroken")
    killed = []

    def kill_once(event):
        if isinstance(event, EpochDone) and not killed:
            killed.append(event)
            kill_the_worker()

    broken = run(make_recipe(), site.model_copy(update={"max_failures": 1}), "broken", kill_once)
    assert sum(isinstance(event, Started) for event in broken) == 2
    assert losses(broken) == losses(unbroken)
    ends = [[e for e in events if isinstance(e, EpochDone)][-1].evaluation.metrics for events in (unbroken, broken)]
    assert ends[0] == ends[1]


def test_an_error_of_ours_is_not_tried_again(make_recipe, site, tmp_path):
    videos = tmp_path / "train"
    for name in ("cw", "ccw", "left", "right", "up", "down", "approach", "recede"):
        (videos / name).mkdir(parents=True)
        (videos / name / "a.mp4").write_bytes(b"no video")
    recipe = make_recipe({"data.train.source": str(videos)})
    events = []
    with pytest.raises(DataError, match="none of its videos could be read") as raised:
        train(
            recipe,
            recipe.data.load(8),
            site.model_copy(update={"max_failures": -1}),
            ONE,
            run_name="own-error",
            listeners=[events.append],
        )
    assert raised.value.at_work
    assert sum(isinstance(event, Started) for event in events) == 1


def test_weights_are_found_from_the_working_folder(make_recipe, site, monkeypatch):
    run(make_recipe({"training.epochs": 1}), site, "source")
    monkeypatch.chdir(site.storage)
    recipe = make_recipe({"training.init_from": "source", "training.epochs": 1, "optimizer.lr": 1e-9})
    check_run(recipe, recipe.data.load(8), ONE)
    continued = next(e for e in run(recipe, site, "continued") if isinstance(e, EpochDone))
    fresh = next(
        e for e in run(recipe.replace({"training.init_from": None}), site, "fresh") if isinstance(e, EpochDone)
    )
    assert continued.evaluation.metrics["loss"] != pytest.approx(fresh.evaluation.metrics["loss"], rel=1e-3)
    absent = recipe.replace({"training.init_from": "absent"})
    with pytest.raises(CheckpointError, match=r"training\.init_from: absent is no"):
        check_run(absent, absent.data.load(8), ONE)


def test_a_listener_that_fails_does_not_end_the_run(caplog):
    heard = []

    def fail(event):
        raise BrokenPipeError("nobody reads")

    with delivering([fail, heard.append]) as mailbox:
        for index in range(3):
            mailbox.put.remote(replace(Finished(), probe={"ordered": index}))
    assert [event.probe["ordered"] for event in heard] == [0, 1, 2]
    assert caplog.text.count("a listener failed") == 1
