"""Names of runs, and finding an earlier one in a site's storage."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from kinoray.errors import CheckpointError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.train.checkpoint import INDEX, newest_of_run, read_summary
from kinoray.train.fetching import folders, folders_with

NUM_RUNS_SHOWN = 5


def new_run_name(recipe: Recipe) -> str:
    """The recipe's name, the time, and two random digits for runs of one second: ``tsn-20261121-143005-3f``."""
    return f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(1)}"


def recipe_of_run(site: Site, run_name: str, overrides: Sequence[str]) -> Recipe:
    """The recipe that a run's newest checkpoint holds, with overrides.

    Raises:
        CheckpointError: the storage holds no checkpoint of such a run.
    """
    storage = site.storage_path()
    newest = newest_of_run(f"{storage}/{run_name}")
    if newest is None:
        raise CheckpointError(f"--resume {run_name}: no checkpoint of it in {storage}; {_known_runs(storage)}")
    return read_summary(newest).recipe(overrides)


def _known_runs(storage: str) -> str:
    names = [place.rpartition("/")[2] for place in folders(storage) if folders_with(place, INDEX)]
    return f"runs there: {', '.join(names[-NUM_RUNS_SHOWN:])}" if names else "it holds no run"
