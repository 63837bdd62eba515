import json
import logging
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from kinoray.errors import ConfigError, ResourceError
from kinoray.tracking.run import DatasetInfo, RunTracker
from kinoray.train.events import (
    BadVideo,
    BatchSeen,
    Diverged,
    EpochDone,
    Evaluation,
    Finished,
    Mistake,
    Recalled,
    Started,
    StepsDone,
)

STARTED = Started("cpu", 2, 1234, 3, 0, 10, 80, 20)
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def steps(step: int, loss: float = 1.0) -> StepsDone:
    return StepsDone(
        epoch=0, step=step, loss=loss, lr=0.1, grad_norm=2.0, videos_per_second=8.0, data_wait_fraction=0.25
    )


def epoch(index: int, step: int, top1: float | None = None, *, is_best: bool = False, bad: str = "") -> EpochDone:
    bad_videos = (BadVideo(bad, f"/videos/{bad}.mp4", 'damaged, "really"'),) if bad else ()
    confusion = np.array([[3, 1], [0, 4]])
    evaluation = None if top1 is None else Evaluation({"top1": top1, "loss": 0.5}, confusion, 8, bad_videos)
    return EpochDone(index, step, 0.75, 8.0, 0.25, 60.0, evaluation, is_best, f"/ckpt/{index}", bad_videos)


@pytest.fixture
def start(store_uri: str) -> Callable[..., RunTracker]:
    def start(**changes: object) -> RunTracker:
        arguments: dict[str, object] = {
            "uri": store_uri,
            "experiment": "demo/one",
            "name": "tiny3d-lr0.1",
            "params": {"optimizer.lr": 0.1, "training.epochs": 3},
            "tags": {"recipe": "configs/demo.yaml", "command": "python jobs/train.py configs/demo.yaml"},
            "recipe_yaml": "model: {kind: tiny3d}\n",
            "datasets": {"train": DatasetInfo("demo", "/data/train.parquet", DIGEST, 80, "training")},
        }
        return RunTracker.start(**arguments | changes)  # type: ignore[arg-type]

    return start


def points(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def artifact(client: MlflowClient, run_id: str, path: str, folder: Path) -> bytes:
    return Path(client.download_artifacts(run_id, path, str(folder))).read_bytes()


def break_store(monkeypatch: pytest.MonkeyPatch, tracker: RunTracker) -> Callable[[], None]:
    """Let every write of metrics and tags fail until the returned function is called."""

    def fail(*args: object, **kwargs: object) -> None:
        raise MlflowException("database is gone\nand here is a long story")

    monkeypatch.setattr(tracker._client, "log_batch", fail)
    return lambda: monkeypatch.delattr(tracker._client, "log_batch")


def test_start_records_what_will_be_computed(start, client, tmp_path) -> None:
    tracker = start(params={f"p.{i:03}": i for i in range(150)} | {"off": None, "on": True, "long": "x" * 7000})
    run = client.get_run(tracker.run_id)
    assert run.info.run_name == "tiny3d-lr0.1"
    assert run.info.status == "RUNNING"
    assert len(run.data.params) == 153
    assert run.data.params["p.149"] == "149"
    assert (run.data.params["off"], run.data.params["on"]) == ("null", "true")
    assert len(run.data.params["long"]) <= 6000
    assert run.data.params["long"].endswith("[cut, 7000 characters in all]")
    assert run.data.tags["recipe"] == "configs/demo.yaml"
    assert artifact(client, tracker.run_id, "recipe.yaml", tmp_path) == b"model: {kind: tiny3d}\n"
    (recorded,) = run.inputs.dataset_inputs
    assert (recorded.dataset.name, recorded.dataset.digest) == ("demo", DIGEST[:36])
    assert json.loads(recorded.dataset.profile) == {"num_videos": 80}
    assert {tag.key: tag.value for tag in recorded.tags} == {"mlflow.data.context": "training", "split": "train"}


def test_artifacts_lie_beside_the_store_wherever_the_process_runs(start, client, store_uri) -> None:
    folder = Path(store_uri.removeprefix("sqlite:///")).parent
    location = client.get_run(start().run_id).info.artifact_uri
    assert location.startswith((folder / "mlartifacts").as_uri())


def test_metrics_of_steps_and_epochs(start, client) -> None:
    tracker = start()
    for event in (
        STARTED,
        steps(5, 2.0),
        steps(10, 1.0),
        epoch(0, 10, 0.5, is_best=True),
        epoch(1, 20),
        epoch(2, 30, 0.4),
    ):
        tracker(event)
    tracker(Finished({"ordered": 0.9, "shuffled": 0.2}))
    run = client.get_run(tracker.run_id)
    assert points(client, tracker.run_id, "train/loss") == [(5, 2.0), (10, 1.0)]
    assert points(client, tracker.run_id, "val/top1") == [(10, 0.5), (30, 0.4)]
    assert points(client, tracker.run_id, "epoch") == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert points(client, tracker.run_id, "probe/shuffled") == [(30, 0.2)]
    assert run.data.metrics["best/val_top1"] == 0.5
    assert run.data.metrics["best/epoch"] == 1
    assert run.data.metrics["train/data_wait_fraction"] == 0.25
    assert run.data.tags["best_checkpoint"] == "/ckpt/0"
    assert run.data.tags["checkpoint"] == "/ckpt/2"
    assert run.data.tags["num_parameters"] == "1234"
    assert len(run.data.metrics) < 20, "MLflow's page grows slow with many keys"


@pytest.mark.parametrize(("stopped", "ended"), [("val/top1 no better", "val/top1 no better"), ("", "all epochs done")])
def test_why_it_ended(start, client, stopped: str, ended: str) -> None:
    tracker = start()
    tracker(Finished(stopped=stopped))
    assert client.get_run(tracker.run_id).data.tags["ended"] == ended


def test_best_is_the_monitored_metric(start, client) -> None:
    tracker = start(monitor="loss")
    tracker(epoch(0, 10, 0.5, is_best=True))
    metrics = client.get_run(tracker.run_id).data.metrics
    assert metrics["best/val_loss"] == 0.5
    assert "best/val_top1" not in metrics


def test_replayed_steps_are_recorded_once(start, client) -> None:
    tracker = start()
    for event in (steps(5), steps(10), epoch(0, 10, 0.5), steps(15), steps(5), steps(10), epoch(0, 10, 0.5), steps(20)):
        tracker(event)
    assert [step for step, _ in points(client, tracker.run_id, "train/loss")] == [5, 10, 15, 20]
    assert points(client, tracker.run_id, "val/top1") == [(10, 0.5)]


def test_what_a_killed_process_did_not_deliver_is_recorded_by_the_next(start, client) -> None:
    first = start()
    first(steps(1))
    again = start(resume_run_id=first.run_id)
    history = (steps(1), steps(2, 0.5), epoch(0, 2, 0.9, is_best=True))
    again(Recalled(history))
    again(steps(3, 0.25))
    assert points(client, first.run_id, "train/loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert points(client, first.run_id, "val/top1") == [(2, 0.9)]
    again.finish("FINISHED")
    names = [file.path for file in client.list_artifacts(first.run_id)]
    assert "confusion_best.png" in names


def test_the_batch_that_diverged_is_stored(start, client, tmp_path) -> None:
    tracker = start()
    tracker(Diverged(0, 6, "the loss is nan", (("v0", "a/v0.mp4"), ("v, 1", "a/v,1.mp4")), rolled_back=False))
    text = artifact(client, tracker.run_id, "diverged_step_7.csv", tmp_path).decode()
    assert text == 'video_id,path\nv0,a/v0.mp4\n"v, 1","a/v,1.mp4"\n'


def test_a_continued_run_goes_on_where_it_ended(start, client, tmp_path, caplog) -> None:
    first = start()
    for event in (steps(10), epoch(0, 10, 0.6, is_best=True, bad="a"), steps(15)):
        first(event)
    first.finish("FAILED", error="a node was lost")
    assert client.get_run(first.run_id).info.status == "FAILED"

    again = start(resume_run_id=first.run_id, experiment="another", params={"training.epochs": 5, "new": 1})
    assert (again.run_id, again.experiment_id) == (first.run_id, first.experiment_id)
    assert client.get_run(first.run_id).info.status == "RUNNING"
    assert "param training.epochs stays 3 in the tracked run, although it is 5 now" in caplog.text
    for event in (steps(15), epoch(1, 20, 0.5, bad="b")):
        again(event)
    again.finish("FINISHED")
    run = client.get_run(first.run_id)
    assert points(client, first.run_id, "train/loss") == [(10, 1.0), (15, 1.0)]
    assert points(client, first.run_id, "val/top1") == [(10, 0.6), (20, 0.5)]
    assert run.data.params["new"] == "1"
    assert "Best epoch: 1" in run.data.tags["mlflow.note.content"]
    assert "60.00%" in run.data.tags["mlflow.note.content"]
    table = artifact(client, first.run_id, "bad_videos.csv", tmp_path).decode()
    assert [line.split(",")[:2] for line in table.splitlines()[1:]] == [
        ["train", "a"], ["val", "a"], ["train", "b"], ["val", "b"]
    ]  # fmt: skip


def test_bad_videos_are_counted_once_and_listed(start, client, tmp_path) -> None:
    tracker = start()
    tracker(epoch(0, 10, bad="clip,1"))
    tracker(epoch(1, 20, bad="clip,1"))
    tracker(epoch(2, 30, bad="clip2"))
    assert points(client, tracker.run_id, "bad_videos") == [(10, 1.0), (20, 1.0), (30, 2.0)]
    table = artifact(client, tracker.run_id, "bad_videos.csv", tmp_path).decode()
    assert table.splitlines() == [
        "split,video_id,path,epoch,error",
        'train,"clip,1","/videos/clip,1.mp4",1,"damaged, ""really"""',
        'train,clip2,/videos/clip2.mp4,3,"damaged, ""really"""',
    ]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_finish(start, client, tmp_path, status) -> None:
    tracker = start(classes=("jump", "run"))
    tracker(steps(10))
    tracker(epoch(0, 10, 0.5, is_best=True, bad="a"))
    error = "" if status == "FINISHED" else "worker 3 ran out of memory"
    tracker.finish(status, error=error)
    tracker.finish("FAILED", error="the second call says nothing")
    run = client.get_run(tracker.run_id)
    assert run.info.status == status
    assert run.info.end_time is not None
    assert run.data.tags.get("error", "") == error
    note = run.data.tags["mlflow.note.content"]
    for part in (status.capitalize(), error, "Best epoch: 1", "| top1 | 50.00% |", "jobs/train.py", "bad_videos.csv"):
        assert part in note
    assert "recipe.yaml" in note
    for picture in ("curves.png", "confusion_best.png"):
        assert artifact(client, tracker.run_id, picture, tmp_path).startswith(b"\x89PNG")


def test_the_description_of_a_clean_run_is_silent_about_bad_videos(start, client) -> None:
    tracker = start()
    tracker(epoch(0, 10, 0.5, is_best=True))
    tracker.finish("FINISHED")
    assert "bad_videos" not in client.get_run(tracker.run_id).data.tags["mlflow.note.content"]


def test_pictures_arrive(start, client) -> None:
    tracker = start(classes=("jump", "run"))
    tracker(STARTED)
    tracker(BatchSeen(np.zeros((2, 3, 8, 8, 3), np.uint8), (((1, 1.0),), ((0, 0.7), (1, 0.3)))))
    assert "batch.png" in {file.path for file in client.list_artifacts(tracker.run_id)}, "while the run goes on"
    tracker(steps(5))
    tracker(epoch(0, 10, 0.5, is_best=True))
    tracker.put_files({"mistakes/01.gif": b"GIF89a"})
    tracker.finish("FINISHED")
    stored = {file.path for file in client.list_artifacts(tracker.run_id)}
    assert stored == {"batch.png", "classes_best.png", "confusion_best.png", "curves.png", "mistakes", "recipe.yaml"}
    assert [file.path for file in client.list_artifacts(tracker.run_id, "mistakes")] == ["mistakes/01.gif"]


def test_the_mistakes_are_those_of_the_best_epoch(start) -> None:
    tracker = start()
    for index, (top1, is_best) in enumerate([(0.3, True), (0.5, True), (0.4, False)]):
        done = epoch(index, 10 * index + 10, top1, is_best=is_best)
        mistake = Mistake(index, f"v{index}", f"/v{index}.mp4", (0,), 1, 0.9, 0.1)
        tracker(replace(done, evaluation=replace(done.evaluation, mistakes=(mistake,))))
    assert [mistake.video_id for mistake in tracker.mistakes] == ["v1"]


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(start, client, monkeypatch, caplog) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("no such font")

    for name in ("batch_picture", "curves_picture", "confusion_picture"):
        monkeypatch.setattr(f"kinoray.tracking.run.{name}", fail)
    tracker = start(classes=("jump", "run"))
    tracker(BatchSeen(np.zeros((1, 1, 8, 8, 3), np.uint8), (((1, 1.0),),)))
    tracker(steps(5))
    tracker(epoch(0, 10, 0.5, is_best=True))
    tracker.finish("FINISHED")
    assert {file.path for file in client.list_artifacts(tracker.run_id)} == {"classes_best.png", "recipe.yaml"}
    assert points(client, tracker.run_id, "train/loss") == [(5, 1.0)]
    assert "batch.png could not be drawn" in caplog.text


def test_a_run_that_ends_before_its_first_step(start, client) -> None:
    tracker = start()
    tracker.finish("KILLED")
    assert client.get_run(tracker.run_id).info.status == "KILLED"
    assert [file.path for file in client.list_artifacts(tracker.run_id)] == ["recipe.yaml"]


def test_values_wait_while_the_store_fails(start, client, monkeypatch, caplog) -> None:
    tracker = start()
    tracker._outbox.pause_seconds = 0
    mend = break_store(monkeypatch, tracker)
    tracker(steps(5))
    tracker(steps(10))
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["kinoray.tracking"], "one warning for the whole outage"
    assert warnings[0].getMessage().endswith("they are kept: database is gone")
    assert points(client, tracker.run_id, "train/loss") == []
    mend()
    tracker(steps(15))
    assert [step for step, _ in points(client, tracker.run_id, "train/loss")] == [5, 10, 15]


def test_a_silent_store_is_left_alone_for_a_while_but_asked_at_the_end(start, client, monkeypatch) -> None:
    tracker = start()
    mend = break_store(monkeypatch, tracker)
    tracker(steps(5))
    mend()
    tracker(steps(10))
    assert points(client, tracker.run_id, "train/loss") == [], "asked again too soon"
    tracker.finish("FINISHED")
    assert [step for step, _ in points(client, tracker.run_id, "train/loss")] == [5, 10]


def test_finish_says_what_is_lost(start, client, monkeypatch, caplog) -> None:
    tracker = start()
    break_store(monkeypatch, tracker)
    tracker(steps(5))
    tracker.finish("FINISHED")
    # Five metrics, the description and the curves.
    assert f"run {tracker.run_id}: 7 values could not be delivered and are lost" in caplog.text
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_value_sent_twice_is_one_point(start, client, monkeypatch) -> None:
    tracker = start()
    tracker._outbox.pause_seconds = 0
    send = tracker._client.log_batch

    def lose_the_answer(*args: object, **kwargs: object) -> None:
        send(*args, **kwargs)
        raise ConnectionResetError("the answer was lost")

    monkeypatch.setattr(tracker._client, "log_batch", lose_the_answer)
    tracker(steps(5))
    monkeypatch.setattr(tracker._client, "log_batch", send)
    tracker(steps(10))
    assert points(client, tracker.run_id, "train/loss") == [(5, 1.0), (10, 1.0)]


def test_an_unreachable_server_is_named_within_seconds(start) -> None:
    begin = time.monotonic()
    with pytest.raises(ResourceError, match=r"http://127\.0\.0\.1:9 does not answer: .*; start the server") as caught:
        start(uri="http://127.0.0.1:9/")
    assert time.monotonic() - begin < 5
    assert "\n" not in str(caught.value)


def test_a_place_for_files_that_cannot_be_written_is_known_at_the_start(start, client, store_uri) -> None:
    location = client.create_experiment("no files", artifact_location="file:///proc/nowhere")
    with pytest.raises(ResourceError, match=r"takes no files: .*/proc/nowhere.*; check where"):
        start(experiment="no files")
    (run,) = client.search_runs([location])
    assert run.info.status == "FAILED"


def test_a_run_that_does_not_exist_cannot_be_continued(start) -> None:
    with pytest.raises(ResourceError, match=r"refuses: .*deadbeef"):
        start(resume_run_id="deadbeef")


def test_a_deleted_experiment_is_named_with_the_way_back(start, client) -> None:
    tracker = start(experiment="gone")
    client.delete_experiment(tracker.experiment_id)
    with pytest.raises(ConfigError, match=f"'gone' is deleted.*restore --experiment-id {tracker.experiment_id}"):
        start(experiment="gone")


def test_link_of_a_local_store_says_how_to_serve_it(start, store_uri) -> None:
    tracker = start()
    command, page = tracker.link().splitlines()
    folder = Path(store_uri.removeprefix("sqlite:///")).parent
    words = ["mlflow", "server", "--backend-store-uri", store_uri, "--artifacts-destination", f"{folder}/mlartifacts"]
    assert shlex.split(command) == [*words, "--port", "5000"]
    assert (
        page
        == f"http://127.0.0.1:5000/#/experiments/{tracker.experiment_id}/runs/{tracker.run_id}?workflowType=machine_learning"
    )
