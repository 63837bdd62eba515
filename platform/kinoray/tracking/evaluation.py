"""An evaluation in MLflow: a run of its own, below the training run that it belongs to."""

import sys
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pyarrow import BufferOutputStream, csv

from kinoray.data.manifest import Manifest
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.tracking.bars import class_bars_picture
from kinoray.tracking.confusion import confusion_picture
from kinoray.tracking.mistakes import mistake_files
from kinoray.tracking.outbox import first_line, upload
from kinoray.tracking.pictures import png_bytes
from kinoray.tracking.provenance import git_tags
from kinoray.tracking.run import DatasetInfo, RunTracker
from kinoray.tracking.store import connect, default_uri, quiet, refusals_named
from kinoray.tracking.training import find_run, recipe_params
from kinoray.train.events import Evaluation
from kinoray.train.report import Report
from kinoray.video.files import without_passwords


def log_evaluation(
    evaluation: Evaluation, report: Report, recipe: Recipe, manifest: Manifest, site: Site, *, checkpoint: str
) -> str:
    """Record an evaluation; returns where it is shown.

    Nothing that fails here, a store that does not answer or a picture, must take the result with it: then it returns
    why.

    Args:
        evaluation: of the manifest.
        report: of the evaluation.
        recipe: the views and the model.
        manifest: what was scored.
        site: names the store and the experiment.
        checkpoint: what scored it, a run's folder or a checkpoint's in it; the training run of this name is the parent.
    """
    try:
        uri = site.tracking_uri or default_uri(site.storage_path())
        tracker = _start(uri, recipe, manifest, site, checkpoint)
    except Exception as error:  # noqa: BLE001 - stores raise whatever their drivers do
        return f"not stored: {first_line(error)}"
    try:
        _fill(tracker, evaluation, report, manifest)
        _show_mistakes(tracker, evaluation, recipe, manifest)
    except Exception as error:  # noqa: BLE001 - as above, and what drawing comes upon
        why = first_line(error)
        tracker.finish("FAILED", error=why)
        return f"not stored as a whole: {why}"
    return tracker.link()


def _start(uri: str, recipe: Recipe, manifest: Manifest, site: Site, checkpoint: str) -> RunTracker:
    tags = {
        "kind": "evaluation",
        "split": manifest.split,
        "recipe": recipe.name,
        "family": recipe.model.kind,
        "checkpoint": without_passwords(checkpoint),
        "command": without_passwords(" ".join(sys.argv)),
        **git_tags(),
    }
    place = PurePosixPath(checkpoint if "://" in checkpoint else str(Path(checkpoint).resolve()))
    with suppress(StopIteration):
        found = (find_run(uri, site.experiment, name) for name in (place.name, place.parent.name))
        tags[MLFLOW_PARENT_RUN_ID] = next(run_id for run_id in found if run_id is not None)
    source = without_passwords(manifest.source)
    return RunTracker.start(
        uri=uri,
        experiment=site.experiment,
        name=f"{manifest.split} of {place.name}",
        params=recipe_params(recipe),
        tags=tags,
        recipe_yaml=recipe.yaml(),
        datasets={
            manifest.split: DatasetInfo(source, source, manifest.digest(), manifest.num_videos, "testing"),
        },
    )


def _fill(tracker: RunTracker, evaluation: Evaluation, report: Report, manifest: Manifest) -> None:
    now = int(time.time() * 1000)
    figures = {f"{manifest.split}/{name}": value for name, value in report.figures().items()}
    figures |= {f"probe/{name}": value for name, value in report.probe.items()}
    files = {"classes.csv": report.classes, "groups.csv": report.groups}
    with quiet(), refusals_named(tracker.uri):
        client = connect(tracker.uri)
        client.log_batch(tracker.run_id, [Metric(name, value, now, 0) for name, value in figures.items()])
        for name, table in files.items():
            if table is not None:
                content = BufferOutputStream()
                csv.write_csv(table, content)
                upload(client, tracker.run_id, name, content.getvalue().to_pybytes())
        if evaluation.confusion is not None:
            for name, picture in (("confusion.png", confusion_picture), ("classes.png", class_bars_picture)):
                png = png_bytes(picture(evaluation.confusion, manifest.classes))
                upload(client, tracker.run_id, name, png)


def _show_mistakes(tracker: RunTracker, evaluation: Evaluation, recipe: Recipe, manifest: Manifest) -> None:
    view = recipe.data.evaluation_split(manifest.split)
    files = mistake_files(evaluation.mistakes, manifest, view)
    with quiet(), refusals_named(tracker.uri):
        client = connect(tracker.uri)
        for path, content in files.items():
            upload(client, tracker.run_id, path, content)
        client.set_terminated(tracker.run_id, "FINISHED")
