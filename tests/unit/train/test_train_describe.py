"""What a recipe's network costs on the recipe's own views."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from toy_training import ToyConfig, ToyNet

from kinoray.errors import ConfigError
from kinoray.models.cost import forward_cost, num_parameters
from kinoray.recipe import Recipe
from kinoray.train.describe import describe_model, shapes_only, view_shapes

MakeRecipe = Callable[..., Recipe]
CONFIGS = Path(__file__).parents[3] / "configs"


def test_views_are_the_recipes(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe({"data.train.repeats": 2, "data.val.num_crops": 3, "data.val.sampling.num_clips": 2})
    assert view_shapes(recipe) == {"train": (2, 3, 4, 16, 16), "val": (6, 3, 4, 16, 16)}
    found = describe_model(recipe)
    assert [split.split for split in found.splits] == ["train", "val"]
    assert [split.shape for split in found.splits] == [(2, 3, 4, 16, 16), (6, 3, 4, 16, 16)]
    val = found.splits[1]
    # Kernels of 3 x 3 x 3 on 2 of 4 frames and 4 x 4 of 16 x 16 pixels, then of one on them, and a classifier.
    assert val.view.macs == 2 * 4 * 4 * (3 * 8 * 27 + 8 * 16) + 16 * 3
    assert val.video.macs == 6 * val.view.macs
    assert val.video.peak_bytes == 6 * val.view.peak_bytes


def test_nothing_is_read_or_fetched(toy_recipe: MakeRecipe) -> None:
    plain = describe_model(toy_recipe())
    assert describe_model(toy_recipe({"model.pretrained": "NAME", "data.train.source": "absent.csv"})) == plain


def test_training_is_the_recipes(toy_recipe: MakeRecipe) -> None:
    plain = describe_model(toy_recipe())
    assert plain.num_trained == plain.num_parameters
    frozen = describe_model(toy_recipe({"training.freeze": ["conv"]}))
    assert frozen.num_parameters - frozen.num_trained == 3 * 8 * 27
    assert frozen.training.saved_bytes < plain.training.saved_bytes
    halved = describe_model(toy_recipe({"training.precision": "bf16"}))
    assert halved.training.saved_bytes < plain.training.saved_bytes


def test_views_that_the_model_does_not_take(toy_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=r"recipe toy: its model does not take its views \(train \(1, 3, 2, 16, 16\)"):
        describe_model(toy_recipe({"data.train.sampling.clip_len": 2}))


class LookingNet(ToyNet):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.rate = torch.linspace(0, 0.1, 3)[-1].item()


class LookingConfig(ToyConfig):
    def build(self) -> LookingNet:
        return LookingNet(num_classes=self.num_classes, norm=self.norm, dropout=self.dropout)


def test_a_network_that_looks_at_values_as_it_is_made(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe()
    config = LookingConfig.model_validate(recipe.model.model_dump(exclude={"kind"}))
    assert describe_model(recipe.model_copy(update={"model": config})) == describe_model(recipe)


PUBLISHED = [
    ("i3d/i3d_r50_32x2x1_100e_ucf101_rgb", 27.431e6, 33.271e9),
    ("slowfast/slowfast_r50_32x2x1_100e_ucf101_rgb", 33.79e6, 27.817e9),
]


@pytest.mark.parametrize(("name", "num_params", "flops"), PUBLISHED)
def test_mmaction2s_figures(name: str, num_params: float, flops: float) -> None:
    """It counts as we do, and two for each value that a norm sees in evaluation, and one for each that is pooled."""
    recipe = Recipe.load(CONFIGS / f"{name}.yaml")
    model, norm_flops = shapes_only(recipe.model), 0

    def note(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal norm_flops
        norm_flops += 2 * inputs[0].numel()

    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.register_forward_hook(note)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        cost = forward_cost(model, torch.zeros((1, 1, 3, 32, 224, 224), dtype=torch.uint8))
    assert num_parameters(model) == pytest.approx(num_params, abs=500)
    assert cost.macs + norm_flops == pytest.approx(flops, abs=1.5e6)


LONGER = [
    ("timesformer/timesformer_divided_8x32x1_15e_ucf101_rgb", 121.336e6, 195.8e9),
    ("uniformerv2/uniformerv2_base_k400_8_10e_ucf101_rgb", 114.322e6, 148.1e9),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_params", "macs"), LONGER)
def test_transformers(name: str, num_params: float, macs: float) -> None:
    found = describe_model(Recipe.load(CONFIGS / f"{name}.yaml"))
    assert found.num_parameters == pytest.approx(num_params, abs=500)
    assert {round(split.view.macs, -8) for split in found.splits} == {macs}
