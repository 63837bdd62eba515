"""Every recipe in the tree loads, builds its model, and states where it comes from."""

from pathlib import Path

import pytest
import torch

from kinoray.recipe import Recipe
from kinoray.site import Site

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(
    path for path in CONFIGS.rglob("*.yaml") if path.relative_to(CONFIGS).parts[0] not in {"_base_", "sites", "sweeps"}
)
SITES = sorted((CONFIGS / "sites").glob("*.yaml"))


def test_the_tree_has_recipes_and_sites():
    assert len(RECIPES) >= 4
    assert len(SITES) >= 3


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe(path):
    recipe = Recipe.load(path)
    assert recipe.name == path.stem
    assert Recipe.load(path).digest() == recipe.digest()
    with torch.device("meta"):
        model = recipe.model.without_pretrained().build()
    clip = recipe.data.train.clip_shape()
    assert model.num_classes == recipe.model.num_classes
    assert len(clip) == (4 if recipe.data.train.kind == "audio" else 5)
    assert 0 < recipe.lr(0) <= recipe.optimizer.lr
    assert path.read_text().startswith("# "), "a recipe opens with what it is, its paper and its result"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_listed_in_the_table(path):
    assert path.name in (CONFIGS / "README.md").read_text()


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_site(path):
    assert Site.load(path).storage
