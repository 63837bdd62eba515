"""A training run in MLflow from its first line to its end, however it ends."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kinoray.data.config import Dataset
from kinoray.data.manifest import Manifest
from kinoray.errors import ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.tracking.model import log_recognizer
from kinoray.tracking.run import DatasetInfo, RunTracker
from kinoray.tracking.store import checked_uri, connect, default_uri, quiet, refusals_named
from kinoray.train.checkpoint import Checkpoint, copy_for_inference, open_checkpoint

GIT_TIMEOUT_SECONDS = 5
COMMIT_VARIABLE = "KINORAY_GIT_COMMIT"
RUN_NAME_TAG = "kinoray.run"


@contextmanager
def tracked_training(
    recipe: Recipe, dataset: Dataset, site: Site, *, run_name: str, resume: bool = False
) -> Iterator[RunTracker]:
    """Record a training run; one that is resumed goes on in its MLflow run.

    Args:
        recipe: becomes params and the artifact ``recipe.yaml``.
        dataset: becomes the run's datasets.
        site: names the store and the experiment; its fields become tags ``site.*``.
        run_name: unique to the run.
        resume: go on in the run of this name, if there is one.

    Raises:
        ResourceError: the store does not answer.
        ConfigError: the URI is of no use.
    """
    uri = site.tracking_uri or default_uri(site.storage_path())
    tags = {
        "kind": "training",
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "family": recipe.model.kind,
        RUN_NAME_TAG: run_name,
        "command": without_passwords(" ".join(sys.argv)),
        **{f"site.{name}": without_passwords(str(value)) for name, value in site.flat().items() if value is not None},
        **git_tags(),
    }
    tracker = RunTracker.start(
        uri=uri,
        experiment=site.experiment,
        name=run_name,
        params=recipe.flat(),
        tags=tags,
        recipe_yaml=recipe.yaml(),
        datasets=_datasets(dataset),
        resume_run_id=_run_to_continue(uri, site.experiment, run_name) if resume else None,
        classes=dataset.classes,
        monitor=recipe.evaluation.monitor,
    )
    try:
        yield tracker
    except (KeyboardInterrupt, SystemExit):
        tracker.finish("KILLED", error="interrupted")
        raise
    except BaseException as error:
        tracker.finish("FAILED", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    tracker.finish("FINISHED")


def log_model(tracker: RunTracker, checkpoint: str) -> str:
    """Store a checkpoint as the run's model, with its metrics of data.val; returns the model's URI.

    A store that does not answer now must not fail a run that is done: then it returns why.

    Raises:
        CheckpointError: the checkpoint cannot be opened.
    """
    opened = open_checkpoint(checkpoint)
    try:
        return _log_lean(tracker, opened)
    except ResourceError as error:
        return f"not stored: {error}"


def _log_lean(tracker: RunTracker, opened: Checkpoint) -> str:
    with tempfile.TemporaryDirectory(prefix="kinoray-model-") as folder:
        lean = Path(folder) / "checkpoint"
        copy_for_inference(opened, lean)
        return log_recognizer(
            uri=tracker.uri,
            run_id=tracker.run_id,
            checkpoint_dir=lean,
            metrics={f"val/{name}": value for name, value in opened.metrics.items()},
        )


def without_passwords(text: str) -> str:
    """A text whose URIs name no user and no password: tags are read by everyone who sees the run."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def git_tags() -> dict[str, str]:
    """The commit of the code that runs, and whether it was changed since; empty outside a checkout.

    An uploaded job has no checkout; whoever submits it may tell the commit in ``KINORAY_GIT_COMMIT``.
    """
    given = os.environ.get(COMMIT_VARIABLE)
    if given:
        return {"mlflow.source.git.commit": given}
    root = Path(__file__).resolve().parents[3]
    if not (root / "platform" / "kinoray").is_dir():  # installed: the checkout around it is another project's
        return {}
    try:
        commit, changes = (
            subprocess.run(  # noqa: S603 - fixed words
                ["git", "-C", str(root), *words],  # noqa: S607 - whichever git the user has
                capture_output=True,
                text=True,
                timeout=GIT_TIMEOUT_SECONDS,
                check=True,
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git_changed": str(bool(changes)).lower()}


def _run_to_continue(uri: str, experiment: str, run_name: str) -> str | None:
    client = connect(checked_uri(uri))
    with quiet(), refusals_named(uri):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = client.search_runs([found.experiment_id], f"tags.`{RUN_NAME_TAG}` = '{run_name}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _datasets(dataset: Dataset) -> dict[str, DatasetInfo]:
    infos = {"train": _info(dataset.train, "training")}
    if dataset.val is not None:
        infos["val"] = _info(dataset.val, "validation")
    return infos


def _info(manifest: Manifest, context: str) -> DatasetInfo:
    return DatasetInfo(manifest.source, manifest.source, manifest.digest(), manifest.num_videos, context)
