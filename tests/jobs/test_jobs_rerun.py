"""Running a recorded training again from the command line: mistakes, a dry run, and the same numbers to the bit."""

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.tracking.differences import compare_histories
from kinoray.tracking.recorded import load_history
from kinoray.tracking.store import default_uri
from kinoray.tracking.training import tracked_training

SMALL = ("--set", "site.local_cpus=2")


@pytest.fixture
def recorded(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a training that has begun and was recorded, in a recipe's folder with relative paths."""
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.load(recipe_file)
    dataset = recipe.data.load(8)
    site = Site(storage=str(tmp_path / "runs"))
    with tracked_training(recipe, dataset, site, Allocation(1, 1.0, 0.0, 1.0), run_name="small-1") as tracker:
        return tracker.run_id


def succeed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(done, code=2):
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("rerun.py: ")
    return done.stderr


def test_what_is_told_before_anything_starts(call_job, recorded: str, motion8: Path, tmp_path: Path) -> None:
    assert "(did you mean 'small-1'?); the last ones are small-1" in told(call_job("rerun.py", "small-2"))
    client = MlflowClient(default_uri(str(tmp_path / "runs")))
    experiment = client.get_run(recorded).info.experiment_id
    client.create_run(experiment, run_name="bucket", tags={"kind": "prediction"})
    assert "is of kind 'prediction'; name a training" in told(call_job("rerun.py", "bucket"))
    gone = told(call_job("rerun.py", "small-1", *SMALL, "--set", "training.init_from=gone.pth"))
    assert "training.init_from" in gone
    assert "gone.pth" in gone
    gpu = told(call_job("rerun.py", "small-1", *SMALL, "--set", "site.gpus_per_worker=1"))
    assert "what run small-1 had is taken" in gpu
    lines = (motion8 / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join(lines[:-4]))
    other = ("--set", f"data.train.source={{kind: manifest, path: train.csv, root: {motion8}}}")
    refused = told(call_job("rerun.py", recorded[:8], *SMALL, *other))
    assert "train.csv is not what run small-1 read, got 20 videos" in refused
    allowed = call_job("rerun.py", recorded[:8], *SMALL, *other, "--allow-other-data", "--dry-run")
    assert allowed.returncode == 0, allowed.stderr
    assert f"differs from run small-1 ({recorded}), may change the numbers" in allowed.stdout
    assert "train videos" in allowed.stdout
    assert not list((tmp_path / "runs").glob("small-*"))


def test_a_store_that_is_not_there(call_job) -> None:
    assert "runs/mlflow.db does not exist" in told(call_job("rerun.py", "small-1"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_training_and_a_trial_come_out_the_same(run_job, recipe_file: Path, motion8: Path, tmp_path: Path) -> None:
    """Two equal commands, a rerun of the first from another folder, and one of a trial of a sweep."""
    (tmp_path / "set").symlink_to(motion8)
    values = yaml.safe_load(recipe_file.read_text())
    for split in ("train", "val"):
        values["data"][split]["source"] = f"set/{split}.csv"
    recipe_file.write_text(yaml.safe_dump(values))
    for _ in range(2):
        succeed(run_job("train.py", "small.yaml", *SMALL))
    client = MlflowClient(default_uri(str(tmp_path / "runs")))
    experiment = client.get_experiment_by_name("kinoray").experiment_id
    first, second = [run.info.run_id for run in client.search_runs([experiment])]
    same = compare_histories(*(load_history(default_uri(str(tmp_path / "runs")), run_id) for run_id in (first, second)))
    assert (dict(same.differing), same.num_missing, same.num_new) == ({}, 0, 0)
    assert same.num_points > 30

    (tmp_path / "elsewhere").mkdir()
    storage = ("--set", f"site.storage={tmp_path / 'runs'}")
    output = succeed(run_job("rerun.py", first[:12], *SMALL, *storage, folder=tmp_path / "elsewhere"))
    assert f"bit-equal: {same.num_metrics} metrics at {same.num_points} points" in output
    (again,) = client.search_runs([experiment], f"tags.rerun_of = '{first}'")
    assert again.data.params == client.get_run(first).data.params
    assert not list((tmp_path / "elsewhere").iterdir())

    (tmp_path / "tries.yaml").write_text(
        yaml.safe_dump({"recipe": "small.yaml", "trials": 1, "space": {"optimizer.lr": {"loguniform": [1e-3, 0.3]}}})
    )
    succeed(run_job("sweep.py", "tries.yaml", *SMALL))
    output = succeed(run_job("rerun.py", "tries-000", *SMALL))
    assert "bit-equal: " in output
