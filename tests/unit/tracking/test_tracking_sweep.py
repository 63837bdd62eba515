"""A sweep's run and those of its trials, from recorded events."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from kinoray.data.config import Dataset
from kinoray.errors import ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.sweep.datasets import dataset_key
from kinoray.sweep.file import Sweep, SweepEvent, SweepFinished, SweepStarted, TrialChanged, TrialEvent
from kinoray.sweep.trials import Trial, TrialState
from kinoray.tracking import run as run_room
from kinoray.tracking import sweep as room
from kinoray.tracking.sweep import SweepTracker, tracked_sweep
from kinoray.train.events import BatchSeen, EpochDone, Evaluation, Event, Finished, Mistake, Started, StepsDone

MakeRecipe = Callable[..., Recipe]
Open = Callable[..., AbstractContextManager[SweepTracker]]
LRS = (0.2, 0.02, 0.002)
ALLOCATION = Allocation(1, 1.0, 0.0, 1.0)
STARTED = Started("cpu", 1, 1234, 2, 0, 10, 24, 9)
CLIP = np.zeros((1, 1, 8, 8, 3), np.uint8)


def epoch(index: int, top1: float) -> EpochDone:
    mistake = Mistake(0, "v", "/v.mp4", (0,), 1, 0.9, 0.1)
    evaluation = Evaluation({"top1": top1, "loss": 1 - top1}, np.eye(3, dtype=np.int64), 9, mistakes=(mistake,))
    return EpochDone(index, 10 * index + 10, 0.75, 8.0, 0.25, 3.0, evaluation, True, f"/sweep/e{index}")


def steps(step: int, lr: float) -> StepsDone:
    return StepsDone(step // 10, step, 1.0, lr, 2.0, 8.0, 0.25)


def told(trial: Trial, accuracies: Sequence[float], status: Any = "finished") -> Iterator[TrialChanged | TrialEvent]:
    """What a trial's life looks like to a listener."""
    state = TrialState(trial, "running", attempts=1)
    yield TrialChanged(state)
    lr = trial.values["optimizer.lr"]
    events: list[Event] = [STARTED, BatchSeen(CLIP, (((0, 1.0),),))]
    for index, top1 in enumerate(accuracies):
        events += [*(steps(10 * index + step, lr) for step in range(2, 10, 2)), epoch(index, top1)]
    for event in [*events, Finished()]:
        yield TrialEvent(trial.number, event)
    best = max(accuracies, default=None)
    best_epoch = None if best is None else accuracies.index(best)
    last = accuracies[-1] if accuracies else None
    yield TrialChanged(
        replace(
            state,
            status=status,
            epoch=len(accuracies),
            value=last,
            best=best,
            best_epoch=best_epoch,
            checkpoint=None if best is None else f"/sweep/{trial.number}",
            error="out of memory" if status == "failed" else "",
        )
    )


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time here; their own tests draw them."""
    for module in (room, run_room):
        monkeypatch.setattr(module, "png_bytes", lambda figure: b"")


@pytest.fixture
def sweep(tmp_path: Path, toy_recipe: MakeRecipe) -> Sweep:
    (tmp_path / "toy.yaml").write_text(toy_recipe().yaml())
    schedules = {"flat": [], "cosine": [{"kind": "cosine", "per": "step"}]}
    space = {"optimizer.lr": {"grid": list(LRS)}, "schedule": {"grid": schedules}}
    values = {"name": f"toy-{tmp_path.name}", "recipe": "toy.yaml", "space": space, "search": "grid", "trials": 5}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return Sweep.load(tmp_path / "sweep.yaml")


@pytest.fixture
def recipe(sweep: Sweep) -> Recipe:
    return sweep.load_recipe()


@pytest.fixture
def dataset(recipe: Recipe) -> Dataset:
    return recipe.data.load(3)


@pytest.fixture
def opened(
    sweep: Sweep, recipe: Recipe, dataset: Dataset, store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """``tracked_sweep`` on the room's store; checkpoints are not there, so models are only named."""
    monkeypatch.setattr(room, "log_model_of", lambda uri, run_id, checkpoint: f"models:/m-{run_id}")
    site = Site(tracking_uri=store_uri, experiment="sweeps")
    ids = count()
    last = [""]

    def start(*, resume: bool = False) -> AbstractContextManager[SweepTracker]:
        """Begin, or go on in the record of the last one."""
        if not resume:
            last[0] = f"{tmp_path.name}-{next(ids)}"
        return tracked_sweep(sweep, recipe, {dataset_key(recipe): dataset}, site, ALLOCATION, sweep_id=last[0])

    return start


@pytest.fixture
def trials(sweep: Sweep, recipe: Recipe) -> tuple[Trial, ...]:
    planned = sweep.planned(recipe)
    assert planned is not None
    return planned


def interrupted(opened: Open, events: Sequence[SweepEvent]) -> SweepTracker:
    """A tracker whose sweep somebody ended by Ctrl-C."""

    def run() -> None:
        with opened() as tracker:
            trackers.append(tracker)
            for event in events:
                tracker(event)
            raise KeyboardInterrupt

    trackers: list[SweepTracker] = []
    with pytest.raises(KeyboardInterrupt):
        run()
    return trackers[0]


def children(client: MlflowClient, tracker: SweepTracker) -> dict[str, Run]:
    found = client.search_runs([tracker.parent.experiment_id], f"tags.`mlflow.parentRunId` = '{tracker.parent.run_id}'")
    assert len({run.info.run_name for run in found}) == len(found), "no trial has two runs"
    return {run.info.run_name.rpartition("-")[2]: run for run in found}


def files(client: MlflowClient, run_id: str) -> set[str]:
    return {file.path for file in client.list_artifacts(run_id)}


def artifact(client: MlflowClient, run_id: str, path: str, folder: Path) -> str:
    return Path(client.download_artifacts(run_id, path, str(folder))).read_text()


def points(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]


def test_a_whole_sweep(
    opened: Open, sweep: Sweep, recipe: Recipe, trials: tuple[Trial, ...], client: MlflowClient, tmp_path: Path
) -> None:
    lives = {0: ([0.3, 0.4], "finished"), 1: ([0.2], "pruned"), 2: ([0.5, 0.9], "finished"), 3: ([], "failed")}
    with opened() as tracker:
        tracker(SweepStarted(sweep, recipe, trials, "/sweep"))
        for number, (accuracies, status) in lives.items():
            for event in told(trials[number], accuracies, status):
                tracker(event)
        tracker(SweepFinished(tracker.states))
    parent, runs = client.get_run(tracker.parent.run_id), children(client, tracker)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["kind"] == "sweep"
    assert parent.data.params["sweep.space.optimizer.lr.grid"] == "[0.2, 0.02, 0.002]"
    assert parent.data.metrics["best/val_top1"] == 0.9
    assert parent.data.metrics["trials/pruned"] == 1
    assert parent.data.tags["best_trial"] == trials[2].name
    assert parent.data.tags["best_checkpoint"] == "/sweep/2"
    assert parent.data.tags["best_model"] == f"models:/m-{runs['002'].info.run_id}"
    pictures = {"leaderboard.png", "parallel_coordinates.png", "values_vs_metric.png", "curves.png"}
    tables = {"leaderboard.csv", "best_recipe.yaml", "sweep.yaml", "recipe.yaml"}
    assert files(client, parent.info.run_id) == pictures | tables | {"environment.json", "requirements.txt"}

    statuses = {number: (run.data.tags["trial_status"], run.info.status) for number, run in runs.items()}
    assert statuses == {
        "000": ("finished", "FINISHED"),
        "001": ("pruned", "FINISHED"),
        "002": ("finished", "FINISHED"),
        "003": ("failed", "FAILED"),
    }
    assert runs["003"].data.tags["error"] == "out of memory"
    assert runs["002"].data.params["optimizer.lr"] == "0.02"
    assert (runs["002"].data.params["schedule"], runs["003"].data.params["schedule"]) == ("flat", "cosine")
    assert runs["003"].data.params["schedule.0.kind"] == "cosine"
    assert runs["002"].data.params["training.epochs"] == "2"
    assert points(client, runs["002"], "val/top1") == [(10, 0.5), (20, 0.9)]
    assert len(points(client, runs["002"], "train/loss")) == 8
    assert files(client, runs["002"].info.run_id) == {"curves.png", "recipe.yaml"}, "trials are light"
    assert len(runs["002"].data.metrics) < 20

    rows = list(csv.DictReader(io.StringIO(artifact(client, parent.info.run_id, "leaderboard.csv", tmp_path))))
    assert [row["trial"][-3:] for row in rows] == ["002", "000", "001", "003"]
    assert (rows[0]["optimizer.lr"], rows[0]["schedule"], rows[0]["best_epoch"]) == ("0.02", "flat", "2")
    assert rows[0]["run_id"] == runs["002"].info.run_id
    best = artifact(client, parent.info.run_id, "best_recipe.yaml", tmp_path)
    (tmp_path / "best.yaml").write_text(best)
    assert Recipe.load(tmp_path / "best.yaml").optimizer.lr == 0.02
    note = parent.data.tags["mlflow.note.content"]
    for part in ("Finished", "2 finished, 1 pruned, 1 failed", "90.00%", "lr 0.02, schedule flat", "models:/m-"):
        assert part in note


@pytest.mark.usefixtures("no_drawing")
def test_a_sweep_goes_on_in_the_same_runs(
    opened: Open, sweep: Sweep, recipe: Recipe, trials: tuple[Trial, ...], client: MlflowClient
) -> None:
    done, begun, fresh = (list(told(trials[number], [0.3, 0.4])) for number in range(3))
    first = interrupted(opened, [SweepStarted(sweep, recipe, trials, "/sweep"), *done, *begun[:9]])
    before = children(client, first)
    assert client.get_run(first.parent.run_id).info.status == "KILLED"
    assert before["001"].data.tags["trial_status"] == "interrupted"
    finished_at = before["000"].info.end_time

    with opened(resume=True) as again:
        again(SweepStarted(sweep, recipe, trials, "/sweep"))
        for event in [done[-1], *begun, *fresh]:
            again(event)
        again(SweepFinished(again.states))
    assert again.parent.run_id == first.parent.run_id
    after = children(client, again)
    assert {number: run.info.run_id for number, run in before.items()}.items() <= {
        number: run.info.run_id for number, run in after.items()
    }.items()
    assert after["000"].info.end_time == finished_at, "what is over is left alone"
    assert {run.data.tags["trial_status"] for run in after.values()} == {"finished"}
    assert points(client, after["001"], "val/top1") == [(10, 0.3), (20, 0.4)]
    assert client.get_run(again.parent.run_id).data.metrics["trials/finished"] == 3


@pytest.mark.usefixtures("no_drawing")
def test_a_resumed_sweep_stores_its_best_model_once(
    opened: Open, trials: tuple[Trial, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    life = list(told(trials[0], [0.4]))
    with opened() as first:
        for event in life:
            first(event)
        first(SweepFinished(first.states))
    monkeypatch.setattr(room, "log_model_of", lambda *arguments: pytest.fail("stored twice"))
    with opened(resume=True) as again:
        again(life[-1])
        again(SweepFinished(again.states))
    assert again.best_model == first.best_model != ""


@pytest.mark.usefixtures("no_drawing")
def test_a_sweep_that_begins_anew_has_a_run_of_its_own(opened: Open) -> None:
    """Also where it has the name of another one, which goes on in its own run all the same."""
    with opened() as first:
        pass
    with opened() as second:
        pass
    assert first.parent.run_id != second.parent.run_id
    with opened(resume=True) as again:
        pass
    assert again.parent.run_id == second.parent.run_id


@pytest.mark.usefixtures("no_drawing")
def test_a_sweep_that_was_killed_before_its_first_trial_goes_on_in_its_run(
    opened: Open, monkeypatch: pytest.MonkeyPatch, client: MlflowClient
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SweepTracker, "finish", lambda *arguments, **named: None)  # as after SIGKILL
        with opened() as killed:
            pass
    assert client.get_run(killed.parent.run_id).info.status == "RUNNING"
    with opened(resume=True) as again:
        pass
    assert again.parent.run_id == killed.parent.run_id
    assert client.get_run(killed.parent.run_id).info.status == "FINISHED"


@pytest.mark.usefixtures("no_drawing")
def test_the_last_epoch_may_come_after_the_end(opened: Open, trials: tuple[Trial, ...], client: MlflowClient) -> None:
    begin, *_, last_epoch, finished, end = told(trials[0], [0.3, 0.4], "pruned")
    with opened() as tracker:
        for event in (begin, end, TrialEvent(0, STARTED), TrialEvent(0, epoch(0, 0.3)), last_epoch, finished):
            tracker(event)
        assert children(client, tracker)["000"].info.status == "FINISHED", "once the epoch has come"
    run = children(client, tracker)["000"]
    assert points(client, run, "val/top1") == [(10, 0.3), (20, 0.4)]
    assert run.data.tags["ended"] == "after epoch 2"


@pytest.mark.usefixtures("no_drawing")
def test_steps_are_sent_with_their_epoch(
    opened: Open, trials: tuple[Trial, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    send = MlflowClient.log_batch

    def count(self: MlflowClient, run_id: str, *arguments: Any, **named: Any) -> Any:
        calls.append(run_id)
        return send(self, run_id, *arguments, **named)

    with opened() as tracker:
        for event in told(trials[0], [], "running"):
            tracker(event)
        monkeypatch.setattr(MlflowClient, "log_batch", count)
        for step in range(1, 100):
            tracker(TrialEvent(0, steps(step, 0.2)))
        assert not calls
        tracker(TrialEvent(0, epoch(9, 0.5)))
        assert len(calls) == 2, "metrics and tags"


@pytest.mark.usefixtures("no_drawing")
def test_a_store_that_fails_for_a_while_costs_nothing(
    opened: Open, trials: tuple[Trial, ...], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, *events, end = told(trials[0], [0.3, 0.4])

    def fail(*arguments: object, **named: object) -> None:
        raise ResourceError("tracking: does not answer")

    with opened() as tracker:
        with monkeypatch.context() as patch:
            patch.setattr(room.RunTracker, "start", fail)
            for event in (begin, *events):
                tracker(event)
        tracker(end)
    run = children(client, tracker)["000"]
    assert points(client, run, "val/top1") == [(10, 0.3), (20, 0.4)]
    assert run.info.status == "FINISHED"


@pytest.mark.usefixtures("no_drawing")
def test_values_that_change_on_the_way_are_a_tag(opened: Open, trials: tuple[Trial, ...], client: MlflowClient) -> None:
    state = TrialState(trials[0], "running", attempts=1)
    moved = replace(trials[0], values={"optimizer.lr": 0.24}, labels={"optimizer.lr": 0.24})
    with opened() as tracker:
        tracker(TrialChanged(state))
        assert children(client, tracker)["000"].data.tags["values"] == "lr 0.2, schedule flat"
        tracker(TrialChanged(replace(state, trial=moved)))
        tracker(TrialEvent(0, epoch(0, 0.5)))
    run = children(client, tracker)["000"]
    assert run.data.tags["values"] == "lr 0.24"
    assert run.data.params["optimizer.lr"] == "0.2"


@pytest.mark.usefixtures("no_drawing")
def test_the_page_of_all_trials_is_sorted_and_belongs_to_the_sweep(opened: Open) -> None:
    with opened() as tracker:
        link = tracker.trials_link()
    assert tracker.parent.run_id in link
    assert "orderByKey=metrics.%60best/val_top1%60&orderByAsc=false" in link
