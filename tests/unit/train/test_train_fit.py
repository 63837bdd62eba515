"""A whole training in this process: it learns, tells what happens, and stops where it must."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import LIGHT, load_data, train_here

from kinoray.errors import CheckpointError, ConfigError, DivergenceError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import BatchSeen, EpochDone, Finished, Started, StepsDone
from kinoray.train.local import fit_locally

MakeRecipe = Callable[..., Recipe]
WARM_UP = {"kind": "linear", "end": 2, "start_factor": 0.1, "per": "step"}
COSINE = {"kind": "cosine", "per": "epoch"}


@pytest.fixture(scope="module")
def learned(toy_videos: Path, tmp_path_factory: pytest.TempPathFactory):
    from toy_training import toy_values

    recipe = Recipe.from_mapping(toy_values(toy_videos), "test").replace(
        {"training.epochs": 8, "schedule": [WARM_UP, COSINE], "evaluation.temporal_probe": True}
    )
    folder = tmp_path_factory.mktemp("learned")
    return recipe, folder, train_here(recipe, folder)


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_it_learns(learned) -> None:
    _, _, events = learned
    epochs = of_kind(events, EpochDone)
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    assert max(epoch.evaluation.metrics["top1"] for epoch in epochs) > 0.8


def test_events_come_in_order(learned) -> None:
    recipe, _, events = learned
    expected = [Started, BatchSeen] + ([StepsDone] * 4 + [EpochDone]) * 8 + [Finished]
    assert [type(event) for event in events] == expected
    assert [event.step for event in of_kind(events, StepsDone)] == list(range(1, 33))
    assert [event.epoch for event in of_kind(events, StepsDone)] == [step // 4 for step in range(32)]
    assert [(event.epoch, event.step) for event in of_kind(events, EpochDone)] == [(n, 4 * n + 4) for n in range(8)]
    num_parameters = sum(parameter.numel() for parameter in recipe.model.build().parameters())
    assert events[0] == Started("cpu", 1, num_parameters, 8, 0, 4, 24, 9)


def test_figures_are_plausible(learned) -> None:
    _, _, events = learned
    for event in of_kind(events, StepsDone) + of_kind(events, EpochDone):
        assert event.videos_per_second > 0
        assert 0 <= event.data_wait_fraction <= 1
    for event in of_kind(events, StepsDone):
        assert 0 < event.grad_norm < 100
    for epoch in of_kind(events, EpochDone):
        steps = [event for event in of_kind(events, StepsDone) if event.epoch == epoch.epoch]
        assert epoch.train_loss == pytest.approx(np.mean([step.loss for step in steps]), rel=1e-6)
        assert epoch.evaluation.num_videos == epoch.evaluation.confusion.sum() == 9
        assert epoch.seconds >= 24 / epoch.videos_per_second * 0.999
        assert epoch.decode_cpu_seconds_per_clip > 0
        assert epoch.bad_videos == ()


def test_the_best_epoch_is_the_last_of_the_highest(learned) -> None:
    _, folder, events = learned
    epochs = of_kind(events, EpochDone)
    highest, best = -math.inf, []
    for epoch in epochs:
        if epoch.evaluation.metrics["top1"] >= highest:
            highest = epoch.evaluation.metrics["top1"]
            best.append(epoch.epoch)
    assert [epoch.epoch for epoch in epochs if epoch.is_best] == best
    chosen = open_checkpoint(folder)
    assert chosen.progress.epoch == best[-1]
    assert chosen.metrics == dict(epochs[best[-1]].evaluation.metrics)
    assert Path(epochs[-1].checkpoint).is_dir()


def test_the_learning_rate_follows_the_recipe(learned) -> None:
    recipe, _, events = learned
    told = [event.lr for event in of_kind(events, StepsDone)]
    # The middle of a step: its beginning in fractional epochs may round to the step before.
    assert told == [recipe.lr((step + 0.5) / 4, steps_per_epoch=4) for step in range(32)]
    assert told[0] == pytest.approx(0.005)
    assert len(set(told)) > 8


def test_a_model_that_saw_motion_needs_the_order(learned) -> None:
    _, _, events = learned
    probe = events[-1].probe
    assert probe["ordered"] == of_kind(events, EpochDone)[-1].evaluation.metrics["top1"]
    assert probe["reversed"] < probe["ordered"]


@pytest.mark.parametrize(("every", "steps"), [(3, [3, 6]), (4, [4, 8]), (100, [])])
def test_steps_are_told_as_often_as_asked(toy_recipe: MakeRecipe, tmp_path: Path, every: int, steps: list[int]) -> None:
    events = train_here(toy_recipe({"training.log_every_steps": every}), tmp_path)
    assert [event.step for event in of_kind(events, StepsDone)] == steps
    assert len(of_kind(events, EpochDone)) == 2


def test_a_window_is_the_mean_of_its_steps(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    single = of_kind(train_here(toy_recipe(), tmp_path / "1"), StepsDone)
    double = of_kind(train_here(toy_recipe({"training.log_every_steps": 2}), tmp_path / "2"), StepsDone)
    for pair, both in zip(zip(single[::2], single[1::2], strict=True), double, strict=True):
        assert both.loss == pytest.approx((pair[0].loss + pair[1].loss) / 2, rel=1e-6)
        assert both.grad_norm == pytest.approx((pair[0].grad_norm + pair[1].grad_norm) / 2, rel=1e-6)
        assert both.lr == pair[1].lr


def test_evaluations_come_when_due_and_at_the_end(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe({"training.epochs": 4, "evaluation.every_epochs": 3})
    epochs = of_kind(train_here(recipe, tmp_path), EpochDone)
    assert [epoch.evaluation is not None for epoch in epochs] == [False, False, True, True]
    assert not epochs[0].is_best
    assert epochs[2].is_best


def test_without_val_the_last_checkpoint_is_kept(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = Recipe.from_mapping({**toy_recipe().model_dump(mode="json"), "data": without_val(toy_recipe())}, "test")
    events = train_here(recipe, tmp_path)
    assert events[0].num_val_videos == 0
    assert all(epoch.evaluation is None and not epoch.is_best for epoch in of_kind(events, EpochDone))
    assert open_checkpoint(tmp_path).progress.epoch == 1


def without_val(recipe: Recipe) -> dict:
    data = recipe.data.model_dump(mode="json")
    data["val"] = None
    return data


def test_a_loss_that_is_no_number_stops_training(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) in epoch \d, step \d+; lower optimizer.lr"):
        train_here(toy_recipe({"optimizer.lr": 1e30}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every", [1, 100])
def test_a_gradient_that_is_no_number_stops_training(toy_recipe: MakeRecipe, tmp_path: Path, every: int) -> None:
    one_step = {"data.train.batch_size": 24, "training.log_every_steps": every}  # a second would show it in the loss
    recipe = toy_recipe({"loss.kind": "toy_training:BrokenGradientLoss", **one_step})
    with pytest.raises(DivergenceError, match="the gradient's norm is nan in epoch 1"):
        train_here(recipe, tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_starts_from_weights_that_are_given(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    train_here(toy_recipe(), tmp_path / "first")
    still = {"optimizer.lr": 1e-30, "optimizer.weight_decay": 0.0, "training.epochs": 1, "model.pretrained": "NONE"}
    given = {"training.init_from": str(tmp_path / "first")}
    train_here(toy_recipe(still | given), tmp_path / "second")
    first, second = (open_checkpoint(tmp_path / name) for name in ("first", "second"))
    names = [name for name, _ in toy_recipe().model.build().named_parameters()]
    assert all(torch.equal(first.weights()[name], second.weights()[name]) for name in names)
    assert second.progress.epoch == 0


def test_weights_of_nothing_are_refused(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        train_here(toy_recipe({"training.init_from": str(tmp_path / "absent.pth")}), tmp_path / "run")


def test_a_batch_larger_than_the_data_is_refused(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="25"):
        train_here(toy_recipe({"data.train.batch_size": 25}), tmp_path)


def test_fit_locally_is_all_it_takes(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe({"training.epochs": 1})
    progress = fit_locally(recipe, load_data(recipe), tmp_path, num_threads=2, emit=lambda event: None)
    assert (progress.epoch, progress.step, progress.best_epoch) == (0, 4, 0)
    assert open_checkpoint(tmp_path).classes() == tuple(LIGHT)
