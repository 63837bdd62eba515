"""The main job from the command line: train, look into MLflow, evaluate, predict from the logged model, resume."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from kinoray.train.checkpoint import open_checkpoint

pytestmark = pytest.mark.ray
SMALL = ("--set", "site.local_cpus=2", "--set", "evaluation.temporal_probe=true")


@pytest.fixture
def trained(run_job, recipe_file, tmp_path):
    done = run_job("train.py", str(recipe_file), *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, next((tmp_path / "runs").glob("small-*"))


def test_train_evaluate_predict_and_resume(trained, run_job, motion8, tmp_path):
    output, folder = trained
    _says_what_it_does(output)
    _is_in_mlflow(tmp_path, folder, epochs=2)
    _evaluates_to_the_same(run_job, folder, tmp_path)
    _the_logged_model_predicts_the_same(tmp_path, motion8)
    done = run_job("train.py", "--resume", folder.name, *SMALL, "--set", "training.epochs=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed at epoch 3" in done.stdout
    _is_in_mlflow(tmp_path, folder, epochs=3)


def _says_what_it_does(output):
    (
        first,
        *_,
    ) = output.splitlines()
    assert "tiny3d on 24 train + 16 val videos of 8 classes, 2 epochs, global batch 8, seed 0" in first
    assert "epoch 2/2" in output
    for row in ("val/top1", "temporal probe, shuffled", "training speed", "waiting for data", "wall time", "MLflow"):
        assert row in output


def _is_in_mlflow(tmp_path, folder, *, epochs):
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("kinoray")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'training'")
    assert len(runs) == 1
    run = runs[0]
    assert run.info.run_name == folder.name
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.lr"] == "0.05"
    assert run.data.tags["family"] == "tiny3d"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(1, 3 * epochs + 1))
    best = open_checkpoint(folder)
    assert run.data.metrics["best/val_top1"] == best.metrics["top1"]
    assert run.data.metrics["best/epoch"] == best.progress.epoch + 1
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"recipe.yaml", "curves.png", "confusion_best.png"} <= artifacts


def _evaluates_to_the_same(run_job, folder, tmp_path):
    done = run_job(
        "evaluate.py", str(folder), "--set", "site.local_cpus=2", "--out", "predictions.parquet", "--views", "1x1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    assert len(predictions) == predictions.video_id.nunique() == 16
    top1 = float((predictions.predicted == predictions.label).mean())
    assert top1 == open_checkpoint(folder).metrics["top1"]
    assert f"{top1:.3f}" in done.stdout
    figures = json.loads((tmp_path / "predictions.json").read_text())
    assert figures["top1"] == top1
    assert figures["top1_low"] <= top1 <= figures["top1_high"]
    assert len(pd.read_csv(tmp_path / "predictions.classes.csv")) == 8
    assert "worst classes" in done.stdout
    _the_evaluation_is_below_the_training_run(tmp_path, top1)


def _the_evaluation_is_below_the_training_run(tmp_path, top1):
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("kinoray")
    by_kind = {run.data.tags["kind"]: run for run in client.search_runs([experiment.experiment_id])}
    assert by_kind["evaluation"].data.tags["mlflow.parentRunId"] == by_kind["training"].info.run_id
    assert by_kind["evaluation"].data.metrics["val/top1"] == top1


def _the_logged_model_predicts_the_same(tmp_path: Path, motion8: Path):
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    mlflow.set_tracking_uri(uri)
    experiment = MlflowClient(uri).get_experiment_by_name("kinoray")
    model = mlflow.search_logged_models(experiment_ids=[experiment.experiment_id], output_format="list")[0]
    recognizer = mlflow.pyfunc.load_model(model.model_uri)
    paths = [*predictions.path[:5], str(motion8 / "none.mp4")]
    rows = recognizer.predict(pd.DataFrame({"path": paths}))
    scores = np.array([json.loads(row) if isinstance(row, str) else row for row in rows.scores[:5]])
    np.testing.assert_allclose(scores, np.stack(predictions.scores[:5]), atol=1e-6)
    assert rows.label[:5].tolist() == predictions.predicted[:5].tolist()
    assert "none.mp4" in rows.error.iloc[5]
