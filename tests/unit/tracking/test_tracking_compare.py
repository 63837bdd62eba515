"""Runs side by side, read from the store."""

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kinoray.errors import ConfigError, ResourceError
from kinoray.site import Site
from kinoray.tracking.compare import common_metrics, compared_csv, curve_keys, differing_params, load_runs, main_metrics
from kinoray.tracking.compare_picture import curves_of_runs_picture
from kinoray.tracking.run import RunTracker
from kinoray.train.events import EpochDone, Evaluation, Started

Record = Callable[..., str]


@pytest.fixture
def site(store_uri: str) -> Site:
    return Site(tracking_uri=store_uri)


@pytest.fixture
def record(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Record a run of two epochs; returns its id."""
    monkeypatch.setattr("kinoray.tracking.run.png_bytes", lambda figure: b"")

    def record(
        name: str,
        params: Mapping[str, float],
        accuracies: tuple[float, ...] = (0.5, 0.4),
        tags: Mapping[str, str] | None = None,
        device: str = "cpu",
    ) -> str:
        tracker = RunTracker.start(
            uri=store_uri,
            experiment="compared",
            name=name,
            params=params,
            tags=tags or {},
            recipe_yaml="",
            datasets={},
        )
        tracker(Started(device, 2, 1234, 2, 0, 10, 90, 9))
        for index, top1 in enumerate(accuracies):
            evaluation = Evaluation({"top1": top1, "loss": 1 - top1}, None, 9)
            done = EpochDone(index, 10 * index + 10, 0.75, 8.0, 0.25, 1800.0, evaluation, False, "/c")
            tracker(done)
        tracker.finish("FINISHED")
        return tracker.run_id

    return record


def test_two_runs(record: Record, site: Site) -> None:
    ids = [
        record("slow-lr", {"optimizer.lr": 0.01, "training.epochs": 2}, (0.2, 0.3)),
        record("fast-lr", {"optimizer.lr": 0.1, "training.epochs": 2, "model.dropout": 0.5}, (0.6, 0.5)),
    ]
    runs = load_runs(site, ["slow-lr", ids[1]])
    assert [run.run_id for run in runs] == ids
    assert differing_params(runs) == {"model.dropout": ["–", "0.5"], "optimizer.lr": ["0.01", "0.1"]}
    assert common_metrics(runs) == ("top1", "loss")
    assert [(run.best("top1"), run.last("top1")) for run in runs] == [(0.3, 0.3), (0.6, 0.5)]
    assert [run.best("loss") for run in runs] == [0.7, 0.4], "less is better"
    assert runs[0].status == "finished"
    cost = runs[0].cost
    assert (cost.train_seconds, cost.unit, cost.worker_hours) == (3600.0, "CPU", 2.0)
    assert cost.videos_per_second == 90 * 2 / 3600
    assert cost.wall_seconds is not None
    rows = list(csv.DictReader(io.StringIO(compared_csv(runs))))
    assert [row["name"] for row in rows] == ["slow-lr", "fast-lr"]
    assert (rows[1]["best_top1"], rows[1]["last_top1"], rows[1]["optimizer.lr"]) == ("0.6", "0.5", "0.1")
    assert (rows[0]["cpu_hours"], rows[0]["gpu_hours"]) == ("2.0", "")


def test_the_name_of_a_schedule_stands_for_its_values(record: Record, site: Site) -> None:
    names = [
        record("flat", {"schedule": "flat", "schedule.0.kind": "constant"}),
        record("cosine", {"schedule": "cosine", "schedule.0.kind": "cosine"}),
    ]
    assert differing_params(load_runs(site, names)) == {"schedule": ["flat", "cosine"]}
    alone = record("alone", {"schedule.0.kind": "linear"})  # has values and no name for them
    assert differing_params(load_runs(site, [names[1], alone])) == {
        "schedule": ["cosine", "–"],
        "schedule.0.kind": ["cosine", "linear"],
    }


def test_metrics_that_rank_checkpoints_come_first(record: Record, site: Site) -> None:
    runs = load_runs(site, [record("by loss", {"evaluation.monitor": "loss"})])
    assert common_metrics(runs) == ("top1", "loss")
    assert main_metrics(runs) == ("loss",)


def test_the_cost_counts_what_a_worker_has(record: Record, site: Site) -> None:
    tags = {"site.gpus_per_worker": "0.5", "site.cpus_per_worker": "8"}
    runs = load_runs(site, [record("half", {}, tags=tags, device="cuda (NVIDIA H200)"), record("cpu", {}, tags=tags)])
    assert [(run.cost.unit, run.cost.worker_hours) for run in runs] == [("GPU", 1.0), ("CPU", 16.0)]


def test_a_sweep_stands_for_its_trials_each_once(record: Record, site: Site) -> None:
    parent = record("lr-sweep", {}, (), {"kind": "sweep"})
    tags = {"kind": "trial", "mlflow.parentRunId": parent}
    second = record("lr-sweep-001", {"optimizer.lr": 0.2}, tags={**tags, "trial": "1", "trial_status": "pruned"})
    first = record("lr-sweep-000", {"optimizer.lr": 0.1}, tags={**tags, "trial": "0"})
    record("an evaluation", {}, tags={"kind": "evaluation", "mlflow.parentRunId": parent})
    runs = load_runs(site, ["lr-sweep", "lr-sweep-001"])
    assert [run.run_id for run in runs] == [first, second]
    assert [run.status for run in runs] == ["finished", "pruned"]


def test_a_run_without_an_evaluation(record: Record, site: Site) -> None:
    (run,) = load_runs(site, [record("nothing yet", {}, ())])
    assert (run.best("top1"), run.last("top1"), run.cost.videos_per_second) == (None, None, None)
    assert differing_params([run]) == {}


def test_one_of_several_of_a_name(record: Record, site: Site) -> None:
    ids = {record("twin", {}), record("twin", {})}
    with pytest.raises(ConfigError, match="twin: is the name of several runs; give an id instead: ") as caught:
        load_runs(site, ["twin"])
    assert set(re.findall(r"[0-9a-f]{32}", str(caught.value))) == ids


def test_an_unknown_run(record: Record, site: Site) -> None:
    record("tiny3d_motion8-1", {})
    with pytest.raises(ConfigError, match=r"no run of this name or id \(did you mean 'tiny3d_motion8-1'\?\); the last"):
        load_runs(site, ["tiny3d_motion9-1"])
    with pytest.raises(ConfigError, match="the store has no run of this id"):
        load_runs(site, ["0" * 32])
    with pytest.raises(ConfigError, match="no run of this name"):
        load_runs(site, ["it's not there"])


def test_a_deleted_run_is_named_with_the_way_back(record: Record, site: Site, client: MlflowClient) -> None:
    run_id = record("gone", {})
    client.delete_run(run_id)
    with pytest.raises(ConfigError, match=f"is deleted; bring it back with `mlflow runs restore --run-id {run_id}`"):
        load_runs(site, [run_id])


def test_a_sweep_without_a_trial(record: Record, site: Site) -> None:
    record("empty-sweep", {}, (), {"kind": "sweep"})
    with pytest.raises(ConfigError, match="empty-sweep: is a sweep without a trial"):
        load_runs(site, ["empty-sweep"])


def test_no_store_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"mlflow\.db does not exist; name the store"):
        load_runs(Site(storage=str(tmp_path)), ["any"])
    assert not list(tmp_path.iterdir())


def test_curves(record: Record, site: Site) -> None:
    runs = load_runs(site, [record("a", {}), record("b", {}), record("c", {}, ())])
    figure = curves_of_runs_picture({run.name: run.history for run in runs}, curve_keys(runs))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["val/top1", "val/loss", "train/epoch_loss"]
    assert len({round(ax.get_subplotspec().rowspan.start) for ax in figure.axes}) == 1  # type: ignore[union-attr]
    assert [len(ax.lines) for ax in figure.axes] == [2, 2, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_many_curves_are_not_all_named() -> None:
    runs = {f"run {number}": {"val/top1": [(1, 0.1), (2, number / 40)]} for number in range(30)}
    figure = curves_of_runs_picture(runs, ("val/top1",))
    assert len(figure.axes[0].lines) == 30
    assert len(figure.legends[0].get_texts()) == 12
    assert figure.legends[0].get_title().get_text() == "and 18 more"
    assert len({line.get_color() for line in figure.axes[0].lines}) == 30
