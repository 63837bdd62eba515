"""Whether a sweep is possible, found out before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kinoray.cluster.sweep.decisions import build_scheduler
from kinoray.cluster.training import check_run
from kinoray.data.config import Dataset
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Capacity, Site
from kinoray.sweep.datasets import dataset_key, load_datasets
from kinoray.sweep.file import Sweep
from kinoray.sweep.shares import share_out


@dataclass(frozen=True)
class Plan:
    """A sweep that was found to be possible.

    Attributes:
        recipe: that all trials start from, the budget's epochs in it.
        datasets: by ``dataset_key``.
        concurrency: trials at a time.
        allocation: what each of them has.
        num_epochs: of the longest trial.
        folder: of the sweep, a path or URI.
    """

    sweep: Sweep
    recipe: Recipe
    datasets: Mapping[str, Dataset]
    concurrency: int
    allocation: Allocation
    num_epochs: int
    folder: str


def plan_sweep(sweep: Sweep, site: Site, capacity: Capacity, overrides: Sequence[str] = ()) -> Plan:
    """Check recipe, space, data and resources.

    Args:
        sweep: that is to be run.
        site: where; ``workers`` is meant for each trial.
        capacity: of the site.
        overrides: of the recipe.

    Raises:
        ConfigError: a value of the space is impossible, or does not suit the data or the workers.
        DataError: the videos of a recipe are unusable.
        ResourceError: the site does not hold it.
        CheckpointError: weights to start from are not there.
    """
    recipe = sweep.load_recipe(overrides)
    datasets = load_datasets([recipe])
    recipe = sweep.with_budget(recipe, datasets[dataset_key(recipe)].train.num_videos)
    recipes = sweep.check(recipe)
    datasets = datasets | load_datasets([each for each in recipes if dataset_key(each) not in datasets])
    concurrency, allocation = share_out(
        site, capacity, wanted=sweep.concurrency, num_trials=sweep.num_trials, set_by=sweep.set_by("concurrency")
    )
    for each in recipes:
        check_run(each, datasets[dataset_key(each)], allocation)
    num_epochs = max(each.training.epochs for each in recipes)
    build_scheduler(sweep, recipe, num_epochs)  # those of the user, too, have their say before anything starts
    return Plan(
        sweep=sweep,
        recipe=recipe,
        datasets=datasets,
        concurrency=concurrency,
        allocation=allocation,
        num_epochs=num_epochs,
        folder=f"{site.storage_path()}/{sweep.name}",
    )
