"""Training that starts from weights of all kinds, and says what it made of them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy_training import ToyNet, train_here

from kinoray.errors import CheckpointError, ConfigError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import check_weights, open_checkpoint, read_weights
from kinoray.train.events import Started

MakeRecipe = Callable[..., Recipe]
STILL = {"optimizer.lr": 1e-30, "optimizer.weight_decay": 0.0, "training.epochs": 1}


@pytest.fixture
def source() -> ToyNet:
    torch.manual_seed(7)
    return ToyNet(num_classes=3, norm="batch", dropout=0.0)


def started(recipe: Recipe, folder: Path) -> Started:
    event = train_here(recipe, folder)[0]
    assert isinstance(event, Started)
    return event


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    return open_checkpoint(folder).weights()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_with_its_digest(toy_recipe: MakeRecipe, source: ToyNet, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}, path)
    else:
        save_file(source.state_dict(), path)
    place = f"{path}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
    event = started(toy_recipe(STILL | {"training.init_from": place}), tmp_path / "run")

    assert event.weights.splitlines()[0] == f"training.init_from: {place}: 10 tensors loaded"
    weights = trained_weights(tmp_path / "run")
    torch.testing.assert_close(
        {name: weights[name] for name, _ in source.named_parameters()}, dict(source.named_parameters())
    )
    with pytest.raises(CheckpointError, match="its SHA-256 begins with"):
        train_here(toy_recipe({"training.init_from": f"{path}#sha256=00000000"}), tmp_path / "other")


def test_another_head_and_other_input_channels(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    torch.manual_seed(7)
    source = ToyNet(num_classes=5, norm="batch", dropout=0.0)
    given = {**source.state_dict(), "conv.weight": torch.ones(8, 3, 3, 3), "aux.weight": torch.zeros(2)}
    torch.save(given, tmp_path / "weights.pth")
    event = started(toy_recipe(STILL | {"training.init_from": str(tmp_path / "weights.pth")}), tmp_path / "run")

    first, *_ = event.weights.splitlines()
    assert first.endswith("weights.pth: 7 tensors loaded, 1 adapted, 2 fresh, 1 of the file unused")
    assert "fc.weight  (5x16 in the file, 3x16 here)" in event.weights
    weights = trained_weights(tmp_path / "run")
    torch.testing.assert_close(weights["conv.weight"], torch.full((8, 3, 3, 3, 3), 1 / 3))
    assert torch.equal(weights["mix.weight"], source.mix.weight)


def test_nothing_is_said_of_a_random_start_or_a_resumed_run(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe({"training.epochs": 1})
    assert started(recipe, tmp_path / "run").weights == ""
    given = {"training.init_from": str(tmp_path / "run"), "training.epochs": 2}
    assert started(recipe.replace(given), tmp_path / "run").weights == ""  # goes on from its own last checkpoint
    assert started(recipe.replace(given), tmp_path / "next").weights.endswith("10 tensors loaded\n\n" + LOADED)


LOADED = """loaded:
  conv.weight
  norm.weight
  norm.bias
  norm.running_mean
  norm.running_var
  norm.num_batches_tracked
  mix.weight
  mix.bias
  fc.weight
  fc.bias"""


def test_weights_of_another_network_are_refused(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "weights.pth")
    recipe = toy_recipe({"training.init_from": str(tmp_path / "weights.pth")})
    with pytest.raises(CheckpointError, match=r"training\.init_from: .*weights fit 0% of the trunk of ToyNet"):
        train_here(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_places_are_checked_before_anything_starts(toy_recipe: MakeRecipe, source: ToyNet, tmp_path: Path) -> None:
    train_here(toy_recipe({"training.epochs": 1}), tmp_path / "run")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    for place in (
        "run",
        "run/epoch-0000",
        "run/epoch-0000/model.safetensors",
        "weights.pth",
        "weights.pth#sha256=00000000",
    ):
        check_weights(str(tmp_path / place), "training.init_from")
    check_weights("torchvision://resnet50", "training.init_from")
    assert read_weights(str(tmp_path / "run")).keys() == source.state_dict().keys()
    assert read_weights(str(tmp_path / "run/epoch-0000/model.safetensors")).keys() == source.state_dict().keys()
    for place in ("none", "none.pth", "none.pth#sha256=00000000"):
        with pytest.raises(CheckpointError, match=r"training\.init_from: .* is no \.safetensors, \.pth, \.pt file"):
            check_weights(str(tmp_path / place), "training.init_from")
    with pytest.raises(ConfigError, match="torchvision has no such weights"):
        check_weights("torchvision://none", "training.init_from")
