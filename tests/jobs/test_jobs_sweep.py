"""The sweep job from the command line: mistakes told before anything starts, and going on after SIGKILL."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from mlflow import MlflowClient

from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.ray
SWEEP = {
    "recipe": "small.yaml",
    "trials": 6,
    "space": {"optimizer.lr": {"loguniform": [1e-3, 0.3]}, "training.clip_grad_norm": {"choice": [1.0, 40.0]}},
    "scheduler": {"kind": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "budget": {"epochs": 3},
}


@pytest.fixture
def sweep_file(tmp_path, recipe_file):
    """A sweep over the small recipe, under any name, with values replaced."""

    def write(name="tries", **values):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**SWEEP, **values}))
        return path

    return write


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        (
            {"space": {"optimizer.momentun": {"uniform": [0.1, 0.9]}}},
            ["optimizer.momentun: no such field", "tries.yaml:"],
        ),
        ({"concurrency": 2}, ["concurrency, got 2", "2 CPUs hold 1 at a time", "[tries.yaml:"]),
    ],
    ids=["unknown-path", "too-many-at-a-time"],
)
def test_a_mistake_starts_nothing(call_job, sweep_file, tmp_path, values, messages):
    done = call_job("sweep.py", str(sweep_file(**values)), "--set", "site.local_cpus=2")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("sweep.py: ")
    assert "Traceback" not in done.stderr
    assert [message for message in messages if message not in done.stderr] == []
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_would_be_tried(call_job, sweep_file, tmp_path):
    done = call_job("sweep.py", str(sweep_file()), "--dry-run", "--set", "site.local_cpus=2", "--set", "sweep.trials=2")
    assert done.returncode == 0, done.stderr
    assert "2 trials of small over optimizer.lr, training.clip_grad_norm; random search, scheduler asha" in done.stdout
    assert "one at a time, 1 worker x (1 CPU + 1 decode thread)" in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_sweep_goes_on_as_if_nothing_had_been(run_job, sweep_file, tmp_path):
    words = ["--set", "site.local_cpus=2"]
    killed = str(sweep_file("killed"))
    _kill_after(3, killed, words, tmp_path)
    before = TrialLog(str(tmp_path / "runs" / "killed"))
    over = {number for number, state in before.current().items() if state.is_over}
    assert len(over) >= 3
    done = run_job("sweep.py", killed, *words, timeout_seconds=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(over)} of 6 trials are done" in done.stdout
    after = TrialLog(before.place)
    assert [state for state in after.states[len(before.states) :] if state.trial.number in over] == []
    whole = run_job("sweep.py", str(sweep_file("whole")), *words, timeout_seconds=400)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert _outcome(after) == _outcome(TrialLog(str(tmp_path / "runs" / "whole")))
    _is_once_in_mlflow(tmp_path)
    _names_the_best(done.stdout, before.place)


def _kill_after(num_over, path, words, folder):
    """SIGKILL to the job, and to the Ray that it leaves behind."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    job = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "jobs" / "sweep.py"), path, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with job:
        try:
            for line in job.stdout:
                if f"[{num_over}/6]" in line:
                    break
        finally:
            left = psutil.Process(job.pid).children(recursive=True)
            job.kill()
            for process in left:
                if process.is_running():
                    os.kill(process.pid, signal.SIGKILL)


def _outcome(log):
    """Status, values, metric and length of each trial."""
    return {
        number: (state.status, state.trial.labels, state.epoch, state.value, state.best, state.best_epoch)
        for number, state in log.current().items()
    }


def _is_once_in_mlflow(folder):
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    runs = client.search_runs(
        [client.get_experiment_by_name("kinoray").experiment_id], "tags.`kinoray.run` LIKE 'killed%'"
    )
    names = sorted(run.info.run_name for run in runs)
    assert names == ["killed", *(f"killed-{number:03d}" for number in range(6))]


def _names_the_best(output, folder):
    command = next(line for line in output.splitlines() if line.startswith("train it again: "))
    assert "python jobs/train.py small.yaml --set optimizer.lr=" in command
    best = Recipe.load(f"{folder}/best.yaml")
    assert f"optimizer.lr={best.optimizer.lr:g}" in command


@pytest.mark.slow
def test_a_sweep_in_a_bucket_goes_on(run_job, sweep_file, tmp_path, bucket):
    words = [
        f"site.storage=s3://{bucket}/runs",
        f"site.tracking_uri=sqlite:///{tmp_path}/mlflow.db",
        "site.local_cpus=2",
    ]
    words = [word for text in words for word in ("--set", text)]
    path = str(sweep_file("tries", budget={"epochs": 2}))
    done = run_job("sweep.py", path, *words, "--set", "sweep.trials=1")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_job("sweep.py", path, *words, "--set", "sweep.trials=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 2 trials are done" in done.stdout
    assert "2 trials: " in done.stdout
    assert f"best recipe: s3://{bucket}/runs/tries/best.yaml" in done.stdout
