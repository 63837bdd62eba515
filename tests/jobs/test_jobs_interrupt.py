"""Ctrl-C in the middle of training: told in one line, recorded as killed, and resumable."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.ray


def test_control_c(recipe_file, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    settings = ["--set", "site.local_cpus=2", "--set", "training.epochs=400"]
    job = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "jobs" / "train.py"), str(recipe_file), *settings],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and so a CI run, may be started with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - this process has one thread
    )
    with job:
        try:
            assert any(line.startswith("epoch ") for line in job.stdout)
            job.send_signal(signal.SIGINT)
            _, error = job.communicate(timeout=60)
        finally:
            job.kill()
    assert job.returncode == 130, error
    assert "train.py: interrupted" in error
    assert "Traceback" not in error
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    run = client.search_runs([client.get_experiment_by_name("kinoray").experiment_id])[0]
    assert run.info.status == "KILLED"
