"""Weights that a recipe names, before workers start in folders of their own; no Ray is started."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_training import load_data

from kinoray.cluster.training import check_run, with_absolute_weights
from kinoray.errors import CheckpointError
from kinoray.recipe import Recipe
from kinoray.site import Allocation

MakeRecipe = Callable[..., Recipe]
ONE = Allocation(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=1)


@pytest.mark.parametrize("setting", ["training.init_from", "model.pretrained"])
def test_paths_of_weights_hold_in_any_folder(
    toy_recipe: MakeRecipe, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = toy_recipe({setting: "a.pth#sha256=00000000"})
    assert with_absolute_weights(recipe).flat()[setting] == f"{tmp_path}/a.pth#sha256=00000000"
    with pytest.raises(CheckpointError, match=rf"{setting}: a\.pth#sha256=00000000 is no \.safetensors"):
        check_run(recipe, load_data(recipe), ONE)
    torch.save({}, "a.pth")
    check_run(recipe, load_data(recipe), ONE)


def test_a_link_keeps_its_name(toy_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a download cache, which lead to files that are called by their digest."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").symlink_to(tmp_path / "0123abcd")
    recipe = toy_recipe({"training.init_from": "a.pth"})
    assert with_absolute_weights(recipe).training.init_from == f"{tmp_path}/a.pth"


def test_a_run_that_goes_on_needs_no_other_weights(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe({"training.init_from": "gone.pth"})
    check_run(recipe, load_data(recipe), ONE, resumes=True)
    with pytest.raises(CheckpointError, match=r"gone\.pth is no"):
        check_run(recipe, load_data(recipe), ONE)


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"training.init_from": "s3://bucket/run"},
        {"training.init_from": "torchvision://resnet50"},
        {"model.pretrained": "IMAGENET1K_V1"},
    ],
)
def test_other_names_stay(toy_recipe: MakeRecipe, names: dict[str, str]) -> None:
    recipe = toy_recipe(names)
    assert with_absolute_weights(recipe) is recipe
