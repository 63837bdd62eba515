"""A training run in MLflow from its first line to its end, however it ends."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pyarrow as pa

from kinoray.data.config import Dataset
from kinoray.data.manifest import Manifest
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.tracking.mistakes import mistake_files
from kinoray.tracking.model import log_recognizer
from kinoray.tracking.outbox import first_line
from kinoray.tracking.provenance import environment_files, environment_here, git_tags
from kinoray.tracking.run import DatasetInfo, RunTracker, ended
from kinoray.tracking.store import checked_uri, connect, default_uri, quiet, refusals_named
from kinoray.train.checkpoint import Checkpoint, copy_for_inference, open_checkpoint
from kinoray.video.files import without_passwords

RUN_NAME_TAG = "kinoray.run"


@contextmanager
def tracked_training(
    recipe: Recipe,
    dataset: Dataset,
    site: Site,
    allocation: Allocation,
    *,
    run_name: str,
    resume: Literal["nothing", "same recipe", "any recipe"] = "nothing",
) -> Iterator[RunTracker]:
    """Record a training run; one that is resumed goes on in its MLflow run.

    Args:
        recipe: becomes params and the artifact ``recipe.yaml``.
        dataset: becomes the run's datasets.
        site: names the store and the experiment; its fields become tags ``site.*``.
        allocation: what the run gets; becomes a part of the artifact ``environment.json``.
        run_name: unique to the run.
        resume: which run of this name is gone on with, if there is one. Of a run that has no checkpoint, all that it
            recorded is computed again: one of another recipe is then another run.

    Raises:
        ResourceError: the store does not answer.
        ConfigError: the URI is of no use.
    """
    uri = site.tracking_uri or default_uri(site.storage_path())
    tags = {"kind": "training", RUN_NAME_TAG: run_name, **recipe_tags(recipe), **origin_tags(site)}
    same = {"recipe_digest": tags["recipe_digest"]} if resume == "same recipe" else {}
    resumed = None if resume == "nothing" else find_run(uri, site.experiment, run_name, others=same)
    tracker = RunTracker.start(
        uri=uri,
        experiment=site.experiment,
        name=run_name,
        params=recipe_params(recipe),
        tags=tags,
        recipe_yaml=recipe.yaml(),
        datasets=dataset_infos(dataset),
        resume_run_id=resumed,
        classes=dataset.classes,
        monitor=recipe.evaluation.monitor,
    )
    with ended(tracker):
        tracker.put_files(environment_files(environment_here(site, allocation), resumed=resumed is not None))
        yield tracker
        if dataset.val is not None and recipe.data.val is not None:
            tracker.put_files(mistake_files(tracker.mistakes, dataset.val, recipe.data.val))


def log_model(tracker: RunTracker, checkpoint: str) -> str:
    """Store a checkpoint as the run's model, with its metrics of data.val; returns the model's URI.

    Nothing that fails here, as a store that does not answer, must fail a run that is done: then it returns why.

    Raises:
        CheckpointError: the checkpoint cannot be opened.
    """
    return log_model_of(tracker.uri, tracker.run_id, checkpoint)


def log_model_of(uri: str, run_id: str, checkpoint: str) -> str:
    """``log_model`` for any run of a store."""
    opened = open_checkpoint(checkpoint)
    try:
        return _log_lean(uri, run_id, opened)
    except Exception as error:  # noqa: BLE001 - stores raise whatever their drivers do
        return f"not stored: {first_line(error)}"


def _log_lean(uri: str, run_id: str, opened: Checkpoint) -> str:
    with tempfile.TemporaryDirectory(prefix="kinoray-model-") as folder:
        lean = Path(folder) / "checkpoint"
        copy_for_inference(opened, lean)
        return log_recognizer(
            uri=uri,
            run_id=run_id,
            checkpoint_dir=lean,
            metrics={f"val/{name}": value for name, value in opened.metrics.items()},
        )


def find_run(
    uri: str, experiment: str, value: str, *, tag: str = RUN_NAME_TAG, others: Mapping[str, str] = MappingProxyType({})
) -> str | None:
    """The id of the newest run with this name, or with this value of another tag, and with those of other tags.

    Returns:
        None where there is none.

    Raises:
        ResourceError: the store does not answer.
        ConfigError: the URI is of no use.
    """
    client = connect(checked_uri(uri))
    with quiet(), refusals_named(uri):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        wanted = " and ".join(_has_tag(name, text) for name, text in {tag: value, **others}.items())
        runs = client.search_runs([found.experiment_id], wanted, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _has_tag(name: str, value: str) -> str:
    quote = '"' if "'" in value else "'"
    return f"tags.`{name}` = {quote}{value}{quote}"


def recipe_tags(recipe: Recipe) -> dict[str, str]:
    """What a run computes, to filter by."""
    return {"recipe": recipe.name, "recipe_digest": recipe.digest(), "family": recipe.model.kind}


def origin_tags(site: Site) -> dict[str, str]:
    """Who asked for a run, where it is computed and by which code."""
    places = {f"site.{name}": without_passwords(str(value)) for name, value in site.flat().items() if value is not None}
    return {"command": without_passwords(" ".join(sys.argv)), **places, **git_tags()}


def recipe_params(recipe: Recipe) -> dict[str, str | int | float | bool | None]:
    """Every value of the recipe, and the learning rate that follows from it where that is not the one it states."""
    is_scaled = recipe.optimizer.base_batch_size is not None
    shown = {path: without_passwords(v) if isinstance(v, str) else v for path, v in recipe.flat().items()}
    return shown | ({"scaled_lr": recipe.scaled_lr} if is_scaled else {})


def dataset_infos(dataset: Dataset) -> dict[str, DatasetInfo]:
    """Split -> what is read of it."""
    infos = {"train": _info(dataset.train, "training")}
    if dataset.val is not None:
        infos["val"] = _info(dataset.val, "validation")
    return infos


def listing_digest(manifest: Manifest) -> str:
    """12 hex digits of what is listed, wherever the files lie: all that order and randomness of a run follow from."""
    index = manifest.table.schema.get_field_index("path")
    nowhere = pa.array([""] * manifest.num_videos, pa.string())
    return replace(manifest, table=manifest.table.set_column(index, "path", nowhere)).digest()


def _info(manifest: Manifest, context: str) -> DatasetInfo:
    source = without_passwords(manifest.source)
    return DatasetInfo(source, source, manifest.digest(), manifest.num_videos, context, listing_digest(manifest))
