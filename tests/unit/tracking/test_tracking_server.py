"""A real tracking server, once: what is written through it is read through it, and its death does not stop a run."""

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, local_server
from mlflow import MlflowClient

from kinoray.tracking.run import RunTracker
from kinoray.train.events import StepsDone

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with local_server(tmp_path) as server:
        yield server


def steps(step: int) -> StepsDone:
    return StepsDone(0, step, 1.0, 0.1, 2.0, 8.0, 0.25)


def test_a_run_outlives_its_tracking_server(server, caplog) -> None:
    tracker = RunTracker.start(
        uri=server.uri,
        experiment="demo",
        name="tiny3d",
        params={"optimizer.lr": 0.1},
        tags={},
        recipe_yaml="seed: 0",
        datasets={},
    )
    tracker(steps(1))
    server.stop()
    begin = time.monotonic()
    for step in (2, 3, 4):
        tracker(steps(step))
    assert time.monotonic() - begin < 5, "a dead server must not slow the run down"
    assert caplog.text.count("takes no values now") == 1
    server.start()
    tracker.finish("FINISHED")

    client = MlflowClient(tracking_uri=server.uri)
    assert [point.step for point in client.get_metric_history(tracker.run_id, "train/loss")] == [1, 2, 3, 4]
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(tracker.run_id)} == {"recipe.yaml", "curves.png"}
    assert (
        tracker.link()
        == f"{server.uri}/#/experiments/{tracker.experiment_id}/runs/{tracker.run_id}?workflowType=machine_learning"
    )
    with urllib.request.urlopen(tracker.link().partition("#")[0], timeout=10) as page:
        assert page.status == 200
