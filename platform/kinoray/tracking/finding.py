"""Finding the run that a user means, by id, beginning of an id, or name."""

import re

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from kinoray.config.suggest import did_you_mean
from kinoray.errors import ConfigError, ResourceError
from kinoray.site import Site
from kinoray.tracking.store import checked_uri, connect, default_uri, public_uri, sqlite_file

NUM_NAMES_SUGGESTED = 5
NUM_RECENT = 200


def existing_store(site: Site) -> tuple[MlflowClient, str]:
    """A client of a site's store, and its URI; unlike ``connect``, this makes none.

    Raises:
        ResourceError: there is none, or it does not answer.
        ConfigError: the URI is of no use.
    """
    uri = checked_uri(site.tracking_uri or default_uri(site.storage_path()))
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise ResourceError(
            f"tracking: {public_uri(uri)} does not exist; name the store by --site or site.tracking_uri"
        )
    return connect(uri), uri


def find_one(client: MlflowClient, experiments: list[str], name: str) -> Run:
    """The run of an id, of a name, or of an id that begins so.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if re.fullmatch(r"[0-9a-f]{32}", name):
        try:
            run = client.get_run(name)
        except MlflowException as error:
            raise ConfigError(f"{name}: the store has no run of this id") from error
        if run.info.lifecycle_stage != "active":
            raise ConfigError(f"{name}: the run is deleted; bring it back with `mlflow runs restore --run-id {name}`")
        return run
    quoted = name.replace("'", "\\'")
    runs = client.search_runs(experiments, f"attributes.run_name = '{quoted}'", max_results=NUM_NAMES_SUGGESTED)
    what = "is the name of several runs"
    if not runs and re.fullmatch(r"[0-9a-f]{4,31}", name):
        runs = client.search_runs(experiments, f"attributes.run_id LIKE '{name}%'", max_results=NUM_NAMES_SUGGESTED)
        what = "is how several ids begin"
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs)
        raise ConfigError(f"{name}: {what}; give an id instead: {ids}")
    if not runs:
        recent = client.search_runs(experiments, max_results=NUM_RECENT)
        names = list(dict.fromkeys(run.info.run_name for run in recent))
        last = f"; the last ones are {', '.join(names[:NUM_NAMES_SUGGESTED])}" if names else "; it has none"
        raise ConfigError(f"{name}: the store has no run of this name or id{did_you_mean(name, names)}{last}")
    return runs[0]
