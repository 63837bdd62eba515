"""An evaluation as a run of its own below the training run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from kinoray.data.manifest import Manifest
from kinoray.data.rows import MANIFEST_SCHEMA
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.tracking.evaluation import log_evaluation
from kinoray.tracking.training import RUN_NAME_TAG
from kinoray.train.events import Evaluation
from kinoray.train.report import Report

MakeRecipe = Callable[..., Recipe]
EVALUATION = Evaluation({"top1": 0.75, "loss": 0.5}, np.eye(3, dtype=np.int64), 3)
REPORT = Report(
    metrics={"top1": 0.75, "loss": 0.5},
    probe={"ordered": 0.75},
    top1_interval=(0.5, 1.0),
    num_groups=None,
    classes=pa.table({"class": ["dim", "rising", "falling"], "accuracy": [0.0, 1.0, 1.0]}),
    groups=None,
)


@pytest.fixture
def manifest() -> Manifest:
    columns = [["a", "b", "c"], ["a", "b", "c"], [0, 1, 2], [None] * 3, [None] * 3]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MANIFEST_SCHEMA, strict=True)], MANIFEST_SCHEMA)
    return Manifest(table, ("dim", "rising", "falling"), "test", "listed.csv")


@pytest.mark.parametrize("place", ["", "/epoch-0004", "/epoch-0004/"])
def test_the_training_run_is_the_parent(
    client: MlflowClient, store_uri: str, toy_recipe: MakeRecipe, manifest: Manifest, tmp_path: Path, place: str
) -> None:
    experiment = f"of {place}"
    experiment_id = client.create_experiment(experiment, artifact_location=(tmp_path / "files").as_uri())
    parent = client.create_run(experiment_id, tags={RUN_NAME_TAG: "toy-1"}).info.run_id
    site = Site(tracking_uri=store_uri, experiment=experiment)
    recipe = toy_recipe({"data.val.num_crops": 3})
    link = log_evaluation(EVALUATION, REPORT, recipe, manifest, site, checkpoint=f"s3://runs/toy-1{place}")
    (run,) = (run for run in client.search_runs([experiment_id]) if run.info.run_id != parent)
    assert run.info.run_id in link
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["kind"] == "evaluation"
    assert RUN_NAME_TAG not in run.data.tags  # or it would be what --resume finds
    assert run.data.params["data.val.num_crops"] == "3"
    assert run.data.metrics == {
        "test/top1": 0.75,
        "test/loss": 0.5,
        "test/top1_low": 0.5,
        "test/top1_high": 1.0,
        "probe/ordered": 0.75,
    }
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"recipe.yaml", "classes.csv", "classes.png", "confusion.png"}
    table = pd.read_csv(client.download_artifacts(run.info.run_id, "classes.csv", str(tmp_path)))
    assert table["class"].tolist() == ["dim", "rising", "falling"]


def test_a_checkpoint_of_no_known_run_stands_alone(
    client: MlflowClient, store_uri: str, toy_recipe: MakeRecipe, manifest: Manifest, tmp_path: Path
) -> None:
    experiment_id = client.create_experiment("alone", artifact_location=(tmp_path / "files").as_uri())
    several = Evaluation({"top1": 0.75}, None, 3)
    report = Report({"top1": 0.75}, {}, (0.5, 1.0), 2, REPORT.classes, pa.table({"group": ["x"], "videos": [3]}))
    site = Site(tracking_uri=store_uri, experiment="alone")
    log_evaluation(several, report, toy_recipe(), manifest, site, checkpoint=str(tmp_path / "elsewhere"))
    (run,) = client.search_runs([experiment_id])
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.info.run_name == "test of elsewhere"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"recipe.yaml", "classes.csv", "groups.csv"}


@pytest.mark.parametrize("failing", ["upload", "confusion_picture", "mistake_files"])
def test_what_fails_on_the_way_takes_no_result_with_it(
    client: MlflowClient,
    store_uri: str,
    toy_recipe: MakeRecipe,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(f"kinoray.tracking.evaluation.{failing}", fail)
    experiment_id = client.create_experiment(f"without {failing}", artifact_location=(tmp_path / "files").as_uri())
    site = Site(tracking_uri=store_uri, experiment=f"without {failing}")
    said = log_evaluation(EVALUATION, REPORT, toy_recipe(), manifest, site, checkpoint="runs/toy-1")
    assert said == "not stored as a whole: disk full"
    (run,) = client.search_runs([experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.metrics["test/top1"] == 0.75


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "file:///runs"])
def test_a_store_that_fails_takes_no_result_with_it(toy_recipe: MakeRecipe, manifest: Manifest, uri: str) -> None:
    said = log_evaluation(EVALUATION, REPORT, toy_recipe(), manifest, Site(tracking_uri=uri), checkpoint="runs/toy-1")
    assert said.startswith("not stored: tracking: ")
