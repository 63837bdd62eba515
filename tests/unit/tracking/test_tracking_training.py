"""What a training run tells of itself in MLflow."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from mlflow import MlflowClient
from toy_training import load_data

from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.tracking.provenance import COMMIT_VARIABLE, git_tags
from kinoray.tracking.training import (
    RUN_NAME_TAG,
    dataset_infos,
    find_run,
    log_model_of,
    origin_tags,
    recipe_params,
)


def test_nothing_that_is_shown_holds_a_password(
    toy_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "--set", "data.train.source=s3://key:sec/ret@bucket/a.csv"])
    tags = origin_tags(Site(tracking_uri="postgresql://me:secret@db:5432/runs"))
    assert tags["command"] == "train.py --set data.train.source=s3://***@bucket/a.csv"
    assert tags["site.tracking_uri"] == "postgresql://***@db:5432/runs"
    recipe = toy_recipe()
    signed = recipe.training.model_copy(update={"init_from": "https://host/a.pth?X-Amz-Signature=secret"})
    recipe = recipe.model_copy(update={"training": signed})  # files and --set that say so are refused
    assert recipe_params(recipe)["training.init_from"] == "https://host/a.pth?X-Amz-Signature=***"
    dataset = load_data(toy_recipe())
    train = replace(dataset.train, source="s3://key:sec/ret@bucket/a.csv")
    info = dataset_infos(replace(dataset, train=train))["train"]
    assert info.name == info.source == "s3://***@bucket/a.csv"


def test_an_uploaded_job_is_told_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "0123abc")
    assert git_tags() == {"mlflow.source.git.commit": "0123abc"}


@pytest.mark.parametrize("name", ["bob's run", 'the "last" one', "a`b"])
def test_a_run_of_any_name_is_found(client: MlflowClient, store_uri: str, name: str) -> None:
    experiment_id = client.create_experiment(f"holds {name}")
    client.create_run(experiment_id, tags={RUN_NAME_TAG: "another"})
    run = client.create_run(experiment_id, tags={RUN_NAME_TAG: name})
    client.create_run(experiment_id, tags={RUN_NAME_TAG: f"{name}s"})
    assert find_run(store_uri, f"holds {name}", name) == run.info.run_id
    assert find_run(store_uri, f"holds {name}", f"{name}?") is None


def test_a_model_that_cannot_be_stored_fails_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full\nat last")

    monkeypatch.setattr("kinoray.tracking.training.open_checkpoint", lambda _: None)
    monkeypatch.setattr("kinoray.tracking.training._log_lean", fail)
    assert log_model_of("sqlite:////no/such.db", "run", "runs/toy-1") == "not stored: disk full"


def test_a_scaled_learning_rate_is_a_param(toy_recipe: Callable[..., Recipe]) -> None:
    recipe = toy_recipe()
    assert recipe_params(recipe) == recipe.flat()
    scaled = toy_recipe({"optimizer.base_batch_size": 24})
    assert recipe_params(scaled) == scaled.flat() | {"scaled_lr": pytest.approx(0.0125)}
