"""A training that is stopped and goes on ends at the bit where an unbroken one ends."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_checkpoints import same
from toy_training import train_here

from kinoray.errors import CheckpointError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import EpochDone, Finished, Recalled, Started, StepsDone
from kinoray.train.learner import start_learner
from kinoray.train.loop import _seed_step
from kinoray.train.world import World

MakeRecipe = Callable[..., Recipe]
FOUR_EPOCHS = {"training.epochs": 4, "training.keep_best": 4, "model.dropout": 0.3}

# Trains until it is killed while it writes the checkpoint of its third epoch, when one file is left: the index.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from kinoray.recipe import Recipe
from kinoray.train import checkpoint
from toy_checkpoints import same
from toy_training import train_here

digest = checkpoint._sha256
def killed_digest(path):
    if path.parent.name == ".epoch-0002":
        os.kill(os.getpid(), signal.SIGKILL)
    return digest(path)

torch.set_num_threads(1)
checkpoint._sha256 = killed_digest
train_here(Recipe.load(sys.argv[1]), Path(sys.argv[2]))
"""


def python(code: str, *arguments: object, temporary: Path) -> subprocess.CompletedProcess[str]:
    places = [str(Path(__file__).parent / "helpers"), str(Path(__file__).parents[3] / "platform")]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places}\n{code}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TMPDIR": str(temporary)},  # who is killed leaves temporary files behind
    )


@pytest.fixture
def recipe(toy_recipe: MakeRecipe) -> Recipe:
    return toy_recipe(FOUR_EPOCHS)


def test_a_killed_training_goes_on_as_if_nothing_had_been(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe.yaml())
    killed = python(KILLED, tmp_path / "recipe.yaml", tmp_path / "broken", temporary=tmp_path)
    assert killed.returncode == -9, killed.stderr
    left = sorted(path.name for path in (tmp_path / "broken").iterdir())
    assert left == [".epoch-0002", "epoch-0000", "epoch-0001"]
    assert (tmp_path / "broken" / ".epoch-0002" / "model.safetensors").is_file()
    assert open_checkpoint(tmp_path / "broken").progress.epoch < 2  # the half checkpoint is in nobody's way

    events = train_here(recipe, tmp_path / "broken")
    assert events[0].first_epoch == 2
    assert [event.step for event in events if isinstance(event, StepsDone)] == list(range(9, 17))
    train_here(recipe, tmp_path / "unbroken")
    for epoch in range(4):
        same(tmp_path / "broken" / f"epoch-{epoch:04d}", tmp_path / "unbroken" / f"epoch-{epoch:04d}")
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == [f"epoch-{n:04d}" for n in range(4)]


def broken_and_unbroken(recipe: Recipe, folder: Path) -> tuple[Path, Path]:
    """The last checkpoints of a training that was interrupted after two epochs and resumed, and of one that was not."""

    def stop(event: object) -> None:
        if isinstance(event, EpochDone) and event.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_here(recipe, folder / "broken", stop)
    train_here(recipe, folder / "broken")
    train_here(recipe, folder / "unbroken")
    return folder / "broken" / "epoch-0003", folder / "unbroken" / "epoch-0003"


def test_the_average_goes_on_too(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    broken, unbroken = broken_and_unbroken(toy_recipe(FOUR_EPOCHS | {"training.ema_decay": 0.9}), tmp_path)
    same(broken, unbroken)
    last = open_checkpoint(unbroken)
    raw = last.training_state()["model"]
    assert any(not torch.equal(value, raw[name]) for name, value in last.weights().items())


def test_every_step_and_worker_draws_its_own_dropout() -> None:
    def drawn(seed: int, step: int, rank: int) -> tuple[float, ...]:
        _seed_step(seed, step, World(rank, 2))
        return tuple(torch.rand(4).tolist())

    places = [(seed, step, rank) for seed in range(3) for step in range(3) for rank in range(2)]
    assert len({drawn(*place) for place in places}) == len(places)
    assert drawn(1, 2, 1) == drawn(1, 2, 1)


def test_a_finished_training_does_nothing_more(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)
    before = open_checkpoint(tmp_path / "epoch-0001").weights()
    events = train_here(toy_recipe(), tmp_path)
    assert [type(event) for event in events] == [Started, Recalled, Finished]
    assert events[0].first_epoch == 2
    after = open_checkpoint(tmp_path / "epoch-0001").weights()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_more_epochs_go_on_from_the_last(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)
    events = train_here(toy_recipe({"training.epochs": 3}), tmp_path)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [2]


def test_what_the_recipe_sets_is_not_taken_from_the_checkpoint(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)
    changed = {"training.epochs": 3, "optimizer.momentum": 0.5, "optimizer.weight_decay": 0.25, "training.keep_best": 3}
    train_here(toy_recipe(changed), tmp_path)
    groups = open_checkpoint(tmp_path / "epoch-0002").training_state()["optimizer"]["param_groups"]
    assert [(group["momentum"], group["weight_decay"]) for group in groups] == [(0.5, 0.25)]


def test_the_schedule_goes_on_where_it_was_with_batches_of_another_size(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Four steps an epoch, then eight."""

    def recipe(epochs: int, batch_size: int) -> Recipe:
        values = toy_recipe({"training.epochs": epochs, "data.train.batch_size": batch_size}).model_dump(mode="json")
        return Recipe.from_mapping(values | {"schedule": [{"kind": "step", "every": 1, "gamma": 0.5}]}, "test")

    train_here(recipe(2, 6), tmp_path)
    events = train_here(recipe(4, 3), tmp_path)
    lrs = {event.epoch: event.lr for event in events if isinstance(event, StepsDone)}
    assert lrs == {2: 0.05 / 4, 3: 0.05 / 8}


def test_momentum_stays_with_its_parameter_when_groups_change(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)

    def momentum(**replaced: object) -> dict[str, torch.Tensor]:
        recipe = toy_recipe({f"optimizer.{name}": value for name, value in replaced.items()})
        learner = start_learner(recipe, World(), checkpoint=open_checkpoint(tmp_path))
        state = learner.optimizer.state
        return {name: state[parameter]["momentum_buffer"] for name, parameter in learner.net.named_parameters()}

    before = momentum(lr=0.05)
    after = momentum(groups=[{"of": "norm", "decay_factor": 0}, {"of": "head", "lr_factor": 10}])
    assert len({value.shape for value in before.values()}) > 1
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_an_optimizer_of_other_parameters_cannot_go_on(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)
    net = toy_recipe().model.build()
    net.conv.weight.requires_grad_(False)
    optimizer = toy_recipe().optimizer.build(net)
    checkpoint = open_checkpoint(tmp_path / "epoch-0001")
    with pytest.raises(CheckpointError, match="epoch-0001: its optimizer trained other parameters than the recipe's"):
        checkpoint.restore_optimizer(optimizer, checkpoint.training_state()["optimizer"], net, toy_recipe())


def test_momentum_of_other_parameters_is_not_taken_up(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """As many as before, of the same shapes."""
    train_here(toy_recipe({"training.freeze": [r"^norm\.weight"]}), tmp_path)
    changed = toy_recipe({"training.freeze": [r"^norm\.bias"], "training.epochs": 3})
    message = r"epoch-0001: norm\.bias, norm\.weight: trained then and frozen now, or the other way round; keep"
    with pytest.raises(CheckpointError, match=message):
        train_here(changed, tmp_path)


def test_another_optimizer_cannot_go_on(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)
    values = {**toy_recipe({"training.epochs": 3}).model_dump(mode="json"), "optimizer": {"kind": "adamw", "lr": 0.01}}
    with pytest.raises(CheckpointError, match=r"trained with optimizer\.kind sgd, which cannot go on as adamw"):
        train_here(Recipe.from_mapping(values, "test"), tmp_path)


def test_another_model_cannot_go_on(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path)
    with pytest.raises(CheckpointError, match=r"epoch-0001: its weights do not fit the recipe's model: .*running_mean"):
        train_here(toy_recipe({"model.norm": "group", "training.epochs": 3}), tmp_path)


def test_adamw_resumes_too(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    values = {**toy_recipe(FOUR_EPOCHS).model_dump(mode="json"), "optimizer": {"kind": "adamw", "lr": 0.01}}
    same(*broken_and_unbroken(Recipe.from_mapping(values, "test"), tmp_path))


def test_pretrained_weights_are_not_fetched_to_be_overwritten(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="NAME would be fetched"):
        train_here(toy_recipe({"model.pretrained": "NAME"}), tmp_path)
    train_here(toy_recipe(), tmp_path)
    events = train_here(toy_recipe({"model.pretrained": "NAME", "training.epochs": 3}), tmp_path)
    assert isinstance(events[-1], Finished)
    assert open_checkpoint(tmp_path / "epoch-0002").recipe().model.pretrained == "NAME"
