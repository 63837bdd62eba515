"""The manifests of a sweep: read once for all trials that train on the same videos."""

from collections.abc import Iterable

from kinoray.config.text import flatten
from kinoray.data.config import Dataset
from kinoray.recipe import Recipe

KEYS = ("classes", "multi_label", "flip_labels", "max_bad_fraction", "reader", "train.source", "val.source")
"""Of the recipe's ``data``, what a dataset depends on, with ``model.num_classes``."""


def dataset_key(recipe: Recipe) -> str:
    """Equal for recipes that load the same dataset."""
    values = {"num_classes": recipe.model.num_classes} | {
        path: value for path, value in flatten(recipe.data).items() if path.startswith(KEYS)
    }
    return repr(values)


def load_datasets(recipes: Iterable[Recipe]) -> dict[str, Dataset]:
    """Key -> dataset, each read and checked once.

    Raises:
        DataError: a list is unusable, or its classes do not fit the model.
        ConfigError: ``flip_labels`` names something that is no class.
    """
    found: dict[str, Dataset] = {}
    for recipe in recipes:
        key = dataset_key(recipe)
        if key not in found:
            found[key] = recipe.data.load(recipe.model.num_classes)
    return found
