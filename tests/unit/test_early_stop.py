"""When early stopping ends a training, and that a resumed one decides as an unbroken one."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_training import train_here

from kinoray.callbacks import Training
from kinoray.early_stop import EarlyStop
from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.train.events import EpochDone, Event

MakeRecipe = Callable[..., Recipe]
NAN = float("nan")


def training(epoch: int = -1) -> Training:
    recipe = SimpleNamespace(evaluation=SimpleNamespace(monitor="top1"))
    unused: dict[str, Any] = dict.fromkeys(("world", "net", "result", "optimizer"))
    return Training(recipe=recipe, classes=(), steps_per_epoch=1, epoch=epoch, step=0, **unused)  # type: ignore[arg-type]


def stops_after(
    values: list[float | None], *, resume_at: int | None = None, first: int = 0, **fields: Any
) -> int | None:
    """The epoch that is the last; None where training goes on to the end. None is an epoch without evaluation."""
    callback, seen = EarlyStop(**fields), training(first - 1)
    callback.on_fit_start(seen)
    for epoch, value in enumerate(values, start=first):
        if epoch == resume_at:
            state, callback, seen = callback.state(), EarlyStop(**fields), training(epoch - 1)
            callback.restore(state)
            callback.on_fit_start(seen)
        if seen.stop_reason:
            return seen.epoch
        seen.epoch = epoch
        if value is not None:
            callback.on_evaluate_end(seen, SimpleNamespace(metrics={"top1": value, "loss": value}))  # type: ignore[arg-type]
    return seen.epoch if seen.stop_reason else None


@pytest.mark.parametrize(
    ("values", "fields", "last"),
    [
        ([0.1, 0.2, 0.3, 0.4], {"patience": 1}, None),
        ([0.5, 0.4, 0.4, 0.4], {"patience": 2}, 2),
        ([0.5, 0.5, 0.5, 0.6], {"patience": 2}, 2),
        ([0.5, 0.4, 0.6, 0.5, 0.5, 0.5], {"patience": 2}, 4),
        ([0.5, 0.52, 0.54, 0.56], {"patience": 2, "min_delta": 0.05}, 2),
        ([0.5, 0.52, 0.58, 0.6, 0.6], {"patience": 2, "min_delta": 0.05}, 4),
        ([0.5, 0.4, 0.3, 0.2], {"patience": 1, "monitor": "loss"}, None),
        ([0.5, 0.6, 0.7, 0.2], {"patience": 2, "monitor": "loss"}, 2),
        ([0.5, 0.4, 0.3, 0.2], {"patience": 2, "mode": "min"}, None),
        ([0.5, 0.4, 0.3, 0.2], {"patience": 2, "monitor": "loss", "mode": "max"}, 2),
        ([None, 0.5, None, 0.4, None, 0.4, None, 0.4], {"patience": 3}, 5),
        ([0.5, None, None, None, 0.6], {"patience": 2}, None),
        ([NAN, NAN, NAN], {"patience": 2}, 1),
        ([NAN, 0.1, NAN, NAN], {"patience": 2}, 3),
    ],
)
def test_when_it_ends(values: list[float | None], fields: dict[str, Any], last: int | None) -> None:
    assert stops_after(values, **fields) == last
    for epoch in range(1, len(values)):
        if last is None or epoch <= last:
            assert stops_after(values, resume_at=epoch, **fields) == last


def test_a_run_that_goes_on_with_it_newly_set_is_given_its_time() -> None:
    assert stops_after([0.5, 0.4, 0.4, 0.4], first=10, patience=2) == 12


@pytest.mark.parametrize("now", [{"monitor": "loss"}, {"mode": "min"}])
def test_what_another_metric_reached_is_no_measure(now: dict[str, Any]) -> None:
    """A resumed run may watch something else: a loss of 2 is not to be compared with an accuracy of 0.9."""
    before, seen = EarlyStop(patience=2), training()
    before.on_fit_start(seen)
    for seen.epoch, value in enumerate((0.9, 0.1)):
        before.on_evaluate_end(seen, SimpleNamespace(metrics={"top1": value}))  # type: ignore[arg-type]
    after = EarlyStop(patience=2, **now)
    after.restore(before.state())
    after.on_fit_start(seen)
    for seen.epoch, value in enumerate((2.0, 1.9, 1.8, 1.7), start=2):
        after.on_evaluate_end(seen, SimpleNamespace(metrics={"top1": value, "loss": value}))  # type: ignore[arg-type]
    assert not seen.stop_reason


def epochs_of(events: list[Event]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, EpochDone)]


def test_a_training_ends_stays_ended_and_goes_on_with_more_patience(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    def recipe(patience: int) -> Recipe:
        stop = {"kind": "early_stop", "patience": patience, "min_delta": 1}  # nothing is ever that much better
        return toy_recipe({"training.epochs": 6, "callbacks": [stop], "evaluation.temporal_probe": True})

    events = train_here(recipe(2), tmp_path)
    assert epochs_of(events) == [0, 1, 2]
    assert events[-1].stopped.startswith("val/top1 no better for 2 epochs; best: 0.")
    assert events[-1].stopped.endswith(" in epoch 1")
    assert events[-1].probe
    again = train_here(recipe(2), tmp_path)
    assert epochs_of(again) == []
    assert again[-1] == events[-1]
    assert epochs_of(train_here(recipe(4), tmp_path)) == [3, 4]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"data.val": None}, r"callbacks\.0 \(early_stop\): data\.val, got none"),
        ({"callbacks.0.monitor": "top5"}, r"monitor, got top5; it should be one of top1, .*loss"),
        ({"callbacks.0.patience": 0}, r"callbacks\.0\.patience"),
    ],
)
def test_what_it_cannot_watch(toy_recipe: MakeRecipe, replaced: dict[str, Any], message: str) -> None:
    recipe = toy_recipe({"callbacks": [{"kind": "early_stop", "patience": 1, "monitor": None}]})
    with pytest.raises(ConfigError, match=message):
        recipe.replace(replaced)
