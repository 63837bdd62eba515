"""The learning-rate range test, against rates at which training is known to be lost."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from toy_training import batch_of, load_data

from kinoray.errors import ConfigError, DataError
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.local import LocalFeed
from kinoray.train.lr_finder import LrRange, exponential_rates, find_lr, range_test
from kinoray.train.world import World

MakeRecipe = Callable[..., Recipe]


def line_fit(momentum: float, seed: int) -> tuple[Callable[[float], float], float]:
    """Least squares on noisy batches, and the rate above which gradient descent is unstable on all of the data.

    Of a quadratic with largest curvature c that is 2 (1 + momentum) / c. Source: Polyak 1964.
    """
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(512, 6, generator=rng) * torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5, 0.3])
    targets = inputs @ torch.randn(6, 1, generator=rng) + 0.3 * torch.randn(512, 1, generator=rng)
    curvature = torch.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs)).max().item()
    net = nn.Linear(6, 1, bias=False)
    nn.init.zeros_(net.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=momentum)

    def step(rate: float) -> float:
        optimizer.param_groups[0]["lr"] = rate
        chosen = torch.randint(len(inputs), (64,), generator=rng)
        loss = nn.functional.mse_loss(net(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, 2 * (1 + momentum) / curvature


def curve(losses: list[float], lowest: float = 1e-6, highest: float = 10.0) -> LrRange:
    """The test of a training whose losses are known."""
    told = iter(losses)
    return range_test(exponential_rates(lowest, highest, len(losses)), lambda rate: next(told))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_suggestion_lies_below_the_stable_bound(momentum: float, seed: int) -> None:
    step, stable = line_fit(momentum, seed)
    found = range_test(exponential_rates(1e-6, 10.0, 100), step)
    assert found.suggestion is not None
    assert found.space is not None
    assert stable / 1000 < found.suggestion < stable
    assert found.bound is not None
    assert stable / 3 < found.bound < 10 * stable, "noticed a few steps after it is passed"
    assert found.space[0] < found.suggestion < found.space[1] <= found.bound
    assert len(found.rates) < 100, "ended when the loss was lost"


def test_what_is_read_off_a_curve() -> None:
    logs = np.linspace(-6, 1, 141)
    losses = 2 - 1.5 / (1 + np.exp(-4 * (logs + 3))) + np.exp(3 * logs)
    found = curve(losses.tolist())
    assert found.steepest == pytest.approx(1e-3, rel=0.3)
    assert found.turn == pytest.approx(10 ** logs[losses.argmin()], rel=0.5)
    assert found.bound == pytest.approx(10 ** logs[(logs > -1) & (losses > 2)][0], rel=0.5)
    assert found.suggestion == pytest.approx(min(found.steepest, found.turn / 10), rel=0.05)


def test_noise_does_not_move_what_is_read_off_far() -> None:
    logs = np.linspace(-6, 1, 100)
    losses = 2 - 1.5 / (1 + np.exp(-3 * (logs + 3))) + np.exp(3 * logs)
    noise = np.random.default_rng(0).normal(0, 0.05, (20, 100))
    found = [math.log10(curve((losses + each).tolist()).steepest or 0) for each in noise]
    assert max(found) - min(found) < 1
    assert np.median(found) == pytest.approx(-3, abs=0.3)


def test_a_loss_that_never_falls_gives_no_advice() -> None:
    found = curve([2.0 + 0.001 * (index % 2) for index in range(50)])
    assert (found.steepest, found.suggestion, found.space, found.bound) == (None, None, None, None)


def test_it_ends_where_the_loss_is_no_number() -> None:
    found = curve([2.0 - 0.02 * index for index in range(40)] + [math.nan] + [0.0] * 59)
    assert len(found.losses) == 40
    assert found.bound == exponential_rates(1e-6, 10.0, 100)[40]


def test_a_loss_that_is_no_number_from_the_start() -> None:
    with pytest.raises(DataError, match=r"doubled or is no number after 2 steps at 1e-06 and above"):
        curve([2.0, 2.0, math.inf] + [0.0] * 20)


@pytest.mark.parametrize(
    ("lowest", "highest", "num_steps", "message"),
    [(0, 1, 100, "from 0 to 1"), (1, 1, 100, "from 1 to 1"), (1, math.inf, 100, "inf"), (1e-6, 1, 9, "got 9")],
)
def test_ranges_that_make_no_sense(lowest: float, highest: float, num_steps: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        exponential_rates(lowest, highest, num_steps)


def test_rates_grow_by_the_same_factor() -> None:
    rates = exponential_rates(1e-5, 1e-1, 13)
    assert (rates[0], rates[-1]) == (1e-5, pytest.approx(1e-1))
    assert np.diff(np.log(rates)) == pytest.approx(np.full(12, math.log(1e4) / 12))


@dataclass
class NoiseFeed:
    """Batches of noise, of which some cannot be read."""

    dataset: object
    bad: tuple[int, ...] = ()
    steps_per_epoch: int = 3
    num_epochs: int = 0

    def train(self, epoch: int) -> Iterator[Batch]:
        self.num_epochs = epoch + 1
        for number in range(self.steps_per_epoch):
            yield batch_of(6, bad=range(6) if number in self.bad else (), seed=number)

    first_batches = val = train


def test_on_a_recipe(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe({"optimizer.base_batch_size": 3, "schedule": [{"kind": "constant", "value": 0.0}]})
    told: list[tuple[float, float]] = []
    rates = exponential_rates(1e-5, 100.0, 40)
    feed = NoiseFeed(load_data(recipe), bad=(1,))
    first = find_lr(recipe, feed, World(), rates, tell=lambda rate, loss: told.append((rate, loss)))  # type: ignore[arg-type]
    assert [loss for _, loss in told] == pytest.approx(first.losses)
    assert feed.num_epochs > 1, "goes on in the next epoch"
    assert min(first.losses) < first.losses[0] - 0.1, "it learns, whatever the schedule says"
    # The batch is twice what optimizer.lr is meant for, so half the number does the same.
    plain = toy_recipe()
    second = find_lr(plain, replace(feed, num_epochs=0), World(), [2 * rate for rate in rates])  # type: ignore[arg-type]
    assert second.losses == pytest.approx(first.losses[: len(second.losses)], rel=1e-3)


def test_the_batches_of_training(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe({"data.train.batch_size": 12})
    feed = LocalFeed(recipe, load_data(recipe), num_threads=1)
    found = find_lr(recipe, feed, World(), exponential_rates(1e-4, 1.0, 10))
    again = find_lr(recipe, feed, World(), exponential_rates(1e-4, 1.0, 10))
    assert found == again
    assert len(found.losses) > 5


def test_no_video_can_be_read(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe()
    feed = NoiseFeed(load_data(recipe), bad=(0, 1, 2))
    with pytest.raises(DataError, match="no video of epoch 1 could be read"):
        find_lr(recipe, feed, World(), exponential_rates(1e-4, 1.0, 10))  # type: ignore[arg-type]
