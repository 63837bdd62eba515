"""A training as MLflow holds it: all that is needed to run it again, and to say whether it came out the same."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pydantic import ValidationError

from kinoray.config.layers import from_tree, override
from kinoray.config.secrets import without_passwords
from kinoray.config.yaml_file import parse_yaml
from kinoray.errors import ConfigError, ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.tracking.finding import existing_store, find_one
from kinoray.tracking.outbox import first_line
from kinoray.tracking.provenance import COMMIT_TAG, ENVIRONMENT, RESUMED_ENVIRONMENT, Environment
from kinoray.tracking.run import DatasetInfo
from kinoray.tracking.store import checked_uri, connect, quiet, refusals_named
from kinoray.tracking.summary import History
from kinoray.tracking.sweep import SCHEDULER_TAG

RERUN_TAG = "rerun_of"
TRAININGS = ("training", "trial")
RECIPE = "recipe.yaml"
MEASURED_BY_CLOCK = re.compile(r"second|data_wait|^system/")
"""In the names of metrics that no two runs share."""


@dataclass(frozen=True)
class RecordedRun:
    """A training, or a trial of a sweep.

    Attributes:
        experiment: its name.
        recipe_yaml: the resolved recipe.
        data: split -> what was read.
        commit: of the code; empty where it is not known.
        device: of rank 0, such as ``cuda (NVIDIA H200)``; empty where no worker came up.
        num_workers: None where no worker came up.
        environment: None of runs before there was such a record.
        resumed_environment: of a run that was continued, when it last was.
    """

    run_id: str
    name: str
    experiment: str
    recipe_yaml: str
    data: Mapping[str, DatasetInfo]
    commit: str
    device: str
    num_workers: int | None
    environment: Environment | None
    resumed_environment: Environment | None

    def recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        """What it trained, with overrides.

        Raises:
            ConfigError: this version cannot read it, or it names code that cannot be imported here.
        """
        what = f"{RECIPE} of run {self.name}"
        try:
            layered = from_tree(parse_yaml(self.recipe_yaml, what, by_line=True))
            return Recipe.from_layers(override(layered, overrides), what)
        except ConfigError as error:
            packages = ", ".join(self.environment.user_packages) if self.environment else ""
            cure = f"\nit ran with site.packages {packages}; name yours, as --set site.packages=[FOLDER]"
            raise ConfigError(f"{error}{cure if packages else ''}") from error

    @property
    def folder(self) -> Path:
        """Where relative paths of its recipe start from: the folder it was started in, or this one where that is gone.

        Of a job that was uploaded, that was a copy of Ray's.
        """
        recorded = Path(self.environment.folder) if self.environment else Path.cwd()
        return recorded if recorded.is_dir() else Path.cwd()


def load_recorded(site: Site, name: str) -> RecordedRun:
    """A run by MLflow's id, the beginning of an id, or its name.

    Raises:
        ResourceError: the store does not answer, or does not give the run's files.
        ConfigError: the name is unknown or that of several runs, or such a run cannot be run again.
    """
    client, uri = existing_store(site)
    with quiet(), refusals_named(uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        run = find_one(client, experiments, name)
        _check_kind(client, run)
        files = _files(client, run.info.run_id)
        if RECIPE not in files:
            raise ConfigError(f"{name}: no {RECIPE} of the run can be found; its files may be on another machine")
        above = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
        if ENVIRONMENT not in files and above is not None:  # trials share that of their sweep
            files = _files(client, above) | files
        experiment = client.get_experiment(run.info.experiment_id).name
    tags = run.data.tags
    return RecordedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        experiment=experiment,
        recipe_yaml=files[RECIPE],
        data=_datasets(run),
        commit=tags.get(COMMIT_TAG, ""),
        device=tags.get("device", ""),
        num_workers=int(tags["num_workers"]) if tags.get("num_workers", "").isdecimal() else None,
        environment=_environment(files, ENVIRONMENT, name),
        resumed_environment=_environment(files, RESUMED_ENVIRONMENT, name),
    )


def load_history(uri: str, run_id: str) -> History:
    """All points of a run's metrics, but for those that a clock has measured.

    Raises:
        ResourceError: the store does not answer.
    """
    uri = checked_uri(uri)
    client = connect(uri)
    with quiet(), refusals_named(uri):
        keys = [key for key in client.get_run(run_id).data.metrics if not MEASURED_BY_CLOCK.search(key)]
        points = {key: client.get_metric_history(run_id, key) for key in keys}
    return {key: sorted({point.step: point.value for point in found}.items()) for key, found in points.items()}


def _check_kind(client: MlflowClient, run: Run) -> None:
    tags, name = run.data.tags, run.info.run_name
    kind = tags.get("kind", "no training of Kinoray's")
    if kind == "sweep":
        raise ConfigError(f"{name}: is a sweep; name one of its trials, such as {name}-000")
    if kind == "evaluation" and (above := tags.get(MLFLOW_PARENT_RUN_ID)):
        trained = client.get_run(above).info.run_name
        raise ConfigError(f"{name}: is an evaluation; name the training that it belongs to, {trained}")
    if kind not in TRAININGS:
        raise ConfigError(f"{name}: is of kind '{kind}'; name a training, or a trial of a sweep")
    if kind == "trial" and tags.get(SCHEDULER_TAG) == "pbt":
        raise ConfigError(
            f"{name}: is of population-based training, in which trials take over weights and values of others; "
            "it can be run again only with the whole sweep, by jobs/sweep.py"
        )


def _files(client: MlflowClient, run_id: str) -> dict[str, str]:
    """The files that a run begins with, those that are there.

    Raises:
        ResourceError: they cannot be fetched from here.
    """
    wanted = (RECIPE, ENVIRONMENT, RESUMED_ENVIRONMENT)
    try:
        there = [file.path for file in client.list_artifacts(run_id) if file.path in wanted]
        with tempfile.TemporaryDirectory(prefix="kinoray-run-") as folder:
            paths = {path: Path(client.download_artifacts(run_id, path, folder)) for path in there}
            return {path: file.read_text(encoding="utf-8") for path, file in paths.items()}
    except Exception as error:
        # Drivers of artifact stores raise whatever they do.
        why = without_passwords(first_line(error))
        raise ResourceError(f"tracking: files of run {run_id} cannot be fetched: {why}") from error


def _environment(files: Mapping[str, str], path: str, name: str) -> Environment | None:
    try:
        return Environment.model_validate_json(files[path]) if path in files else None
    except ValidationError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {str(error).splitlines()[0]}") from error


def _datasets(run: Run) -> dict[str, DatasetInfo]:
    """Split -> what was read; of a split that was read again in a continued run, the first."""
    found: dict[str, DatasetInfo] = {}
    for recorded in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in recorded.tags}
        info = DatasetInfo(
            name=recorded.dataset.name,
            source=recorded.dataset.name,
            digest=recorded.dataset.digest,
            num_videos=int(json.loads(recorded.dataset.profile or "{}").get("num_videos", 0)),
            context=tags.get("mlflow.data.context", ""),
            listing=tags.get("listing", ""),
        )
        found.setdefault(tags.get("split", info.context), info)
    return found
