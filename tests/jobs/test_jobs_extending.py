"""Code of the user's on Ray's workers: the example of docs/extending.md, and a callback that fails there."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.train.checkpoint import newest_of_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PACKAGE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "my_package"
FAILING = """
from kinoray.callbacks import CallbackConfig


class Failing(CallbackConfig):
    kind: str = "failing_package.hooks:Failing"

    def on_step_end(self, training, end):
        if training.world.rank == 1:
            raise LookupError("nothing to be found")
"""


@pytest.fixture
def settings(motion8: Path) -> dict[str, object]:
    """Two workers on two CPUs; videos that are there, and few of them."""
    values: dict[str, object] = {
        "site.local_cpus": 2,
        "site.workers": 2,
        "site.cpus_per_worker": 0.5,
        "data.train.batch_size": 4,
    }
    for source in ("data.train.source.of", "data.val.source"):
        values |= {f"{source}.root": motion8, f"{source}.num_train": 24, f"{source}.num_val": 16}
    return values


def words(settings: dict[str, object]) -> list[str]:
    return [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]


def test_the_example_on_two_workers(run_job, settings, tmp_path: Path) -> None:
    settings |= {"site.packages": f"[{PACKAGE}]", "callbacks.0.good_enough": 0.01}
    done = run_job("train.py", str(PACKAGE / "recipe.yaml"), *words(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped after epoch 1: val/top1 0." in done.stdout
    newest = newest_of_run(str(next((tmp_path / "runs").glob("recipe-*"))))
    assert newest is not None
    (page,) = json.loads((Path(newest) / "diary.json").read_text())
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("kinoray").experiment_id])
    assert run.data.tags["ended"] == f"val/top1 {page['top1']:.3f} is good enough"
    assert run.data.metrics["val/top3"] == page["top3"]
    assert run.data.metrics["best/val_top3"] == page["top3"]


def test_the_sweep_of_the_example(run_job, settings, tmp_path: Path) -> None:
    """Search and scheduler of the user's, also where trials are decided on and where they are trained."""
    settings = {path: value for path, value in settings.items() if path not in ("site.workers", "site.cpus_per_worker")}
    settings |= {"site.packages": f"[{PACKAGE}]", "sweep.trials": 2, "sweep.scheduler.value": 2}
    done = run_job("sweep.py", str(PACKAGE / "sweep.yaml"), *words(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials: 0 finished, 2 pruned, 0 failed" in done.stdout
    states = TrialLog(str(tmp_path / "runs" / "sweep")).current()
    assert [(state.epoch, state.error) for state in states.values()] == [(2, "my_package.scheduler:Hurdle")] * 2


def test_a_callback_that_fails_on_a_worker(run_job, settings, tmp_path: Path) -> None:
    package = tmp_path / "failing_package"
    package.mkdir()
    (package / "hooks.py").write_text(FAILING)
    settings |= {"site.packages": f"[{PACKAGE}, {package}]", "site.max_failures": 3}
    settings |= {"callbacks": '[{kind: "failing_package.hooks:Failing"}]'}
    done = run_job("train.py", str(PACKAGE / "recipe.yaml"), *words(settings))
    assert done.returncode == 1, done.stdout + done.stderr
    first, *frames = done.stderr.splitlines()
    assert first == (
        "train.py: callbacks.0 (failing_package.hooks:Failing): on_step_end raised LookupError: nothing to be found"
    )
    assert frames[0].strip().startswith(f'File "{package}/hooks.py", line 10')
    assert "Traceback" not in done.stderr
    assert done.stdout.count("2 workers on") <= 1, "it would only come again"
