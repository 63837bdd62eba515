"""Names of runs, and finding an earlier one in a site's storage."""

import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from kinoray.errors import CheckpointError, ConfigError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.train.checkpoint import INDEX, newest_of_run, read_summary
from kinoray.train.fetching import folders, folders_with
from kinoray.train.lease import leased

NUM_RUNS_SHOWN = 5
_NAME = re.compile(r"\w[\w.-]*")
_STARTED_FROM = ("name", "training.init_from", "model.pretrained")


def new_run_name(recipe: Recipe) -> str:
    """The recipe's name, the time, and four random digits for runs of one second: ``tsn-20261121-143005-3fa0``."""
    return f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class ChosenRun:
    """What a command line says is to be trained.

    Attributes:
        recipe: to train by.
        name: of the run, which is also its folder's in the storage.
        goes_on: whether the run may have begun before: its MLflow run is then looked for.
        has_checkpoint: whether there is one to go on from.
    """

    recipe: Recipe
    name: str
    goes_on: bool = False
    has_checkpoint: bool = False

    @property
    def resumes(self) -> Literal["nothing", "same recipe", "any recipe"]:
        """Which MLflow run of this name is gone on with, as ``tracked_training`` takes it."""
        if self.has_checkpoint:
            return "any recipe"
        return "same recipe" if self.goes_on else "nothing"

    def owned(self, site: Site) -> AbstractContextManager[None]:
        """While inside, no other process trains a run of this name; of one that is new there is no other.

        Raises:
            ResourceError: one does.
        """
        return leased(f"{site.storage_path()}/{self.name}") if self.goes_on else nullcontext()


def choose_run(
    site: Site, recipe_file: str | None, overrides: Sequence[str], *, default: Path, run: str | None, resume: str | None
) -> ChosenRun:
    """Find out which run is meant.

    Args:
        site: names the storage.
        recipe_file: of a run that begins; None where none is named.
        overrides: of the recipe.
        default: the recipe file where none is named.
        run: the name of a run to begin, or to go on with where it has begun.
        resume: the name of a run to go on with, by the recipe of its newest checkpoint.

    Raises:
        CheckpointError: the storage holds no checkpoint of the run to resume.
        ConfigError: ``run`` is no name, or was begun by another recipe; a recipe is named for a run that has its own.
    """
    if resume is not None:
        if recipe_file is not None:
            raise ConfigError(f"--resume {resume}: goes on by its own recipe, got {recipe_file}, too; leave it out")
        return ChosenRun(recipe_of_run(site, resume, overrides), resume, goes_on=True, has_checkpoint=True)
    recipe = Recipe.load(recipe_file or default, overrides)
    if run is None:
        return ChosenRun(recipe, new_run_name(recipe))
    if not _NAME.fullmatch(run):
        raise ConfigError(f"--run: got '{run}'; a run's name should be letters, digits, '_', '-' and '.'")
    newest = newest_of_run(f"{site.storage_path()}/{run}")
    if newest is not None:
        _check_same(recipe, read_summary(newest).recipe(), run)
    return ChosenRun(recipe, run, goes_on=True, has_checkpoint=newest is not None)


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


def _check_same(recipe: Recipe, begun: Recipe, run: str) -> None:
    """Raises ConfigError where a run was begun by another recipe; what it started from no longer matters."""
    now, then = recipe.flat(), begun.flat()
    others = [path for path in {**then, **now} if path not in _STARTED_FROM and now.get(path) != then.get(path)]
    if others:
        shown = "".join(f"\n  {path}: {then.get(path)}, now {now.get(path)}" for path in others)
        raise ConfigError(
            f"--run {run}: was begun by another recipe; give this one another name, or go on with that one, changed, "
            f"by --resume {run} --set ...{shown}"
        )


def _known_runs(storage: str) -> str:
    names = [place.rpartition("/")[2] for place in folders(storage) if folders_with(place, INDEX)]
    return f"runs there: {', '.join(names[-NUM_RUNS_SHOWN:])}" if names else "it holds no run"
