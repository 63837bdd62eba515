"""A real tracking server, once: what is written through it is read through it, and its death does not stop a run."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kinoray.tracking.run import RunTracker
from kinoray.tracking.store import why_no_answer
from kinoray.train.events import StepsDone

pytestmark = pytest.mark.slow


@dataclass
class Server:
    """`mlflow server` in a process group of its own, without the job runners."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
        ]
        command += ["--artifacts-destination", f"{self.folder}/mlartifacts", "--port", str(self.port), "--workers", "1"]
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while why_no_answer(self.uri):
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(tmp_path, port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


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
