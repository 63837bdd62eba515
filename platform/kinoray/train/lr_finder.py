"""The learning-rate range test: one short run in which the rate grows exponentially, and what its loss tells.

Sources: the test is that of arXiv 1506.01186; reading off where the loss falls fastest, and a tenth of the rate where
it is lowest, is the custom of fastai (arXiv 2002.04688). Two things are done otherwise. What is read off comes from a
curve that is smoothed symmetrically once all of it is known: a running mean lags behind by several steps, each of
which is a good part of an order of magnitude. And the run ends where the loss doubles rather than at four times its
lowest value, which is nothing where a few videos are learned by heart.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoray.errors import ConfigError, DataError
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.learner import start_learner, train_step
from kinoray.train.loop import Feed
from kinoray.train.world import World

LOWEST, HIGHEST = 1e-6, 10.0
NUM_STEPS = 100
MIN_STEPS = 10
DIVERGED_FACTOR = 2.0
"""The run ends where the running mean of the loss is so many times what the loss was in the beginning."""
NUM_FIRST_STEPS = 5
"""The mean of so many is the loss of the beginning."""
RUNNING_SHARE = 0.7
"""Of the past, in the running mean that ends the run."""
SMOOTHING_FRACTION = 0.04
"""Standard deviation of the smoothing, as a share of the test's steps."""
TURN_SHARE = 0.1
"""Of the rate where the loss is lowest, that a whole training may still bear."""
MIN_GAIN = 0.02
"""A loss that moves by less than this share of what it was has told nothing."""


@dataclass(frozen=True)
class LrRange:
    """What a range test found; rates are those that ``optimizer.lr`` means.

    Attributes:
        rates: of each step, ascending.
        losses: of the batch of each step, before it was learned from.
        smoothed: the same, smoothed.
        steepest: where the loss falls fastest over the logarithm of the rate; None where it does not fall.
        turn: where the loss is lowest; beyond it steps make it worse.
        bound: where the loss is back above that of the beginning, or no number; None where it never is.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    turn: float
    bound: float | None

    @property
    def suggestion(self) -> float | None:
        """The lower of the steepest point and a tenth of the turn, in two digits; None where the loss does not fall."""
        return None if self.steepest is None else _rounded(min(self.steepest, TURN_SHARE * self.turn))

    @property
    def space(self) -> tuple[float, float] | None:
        """Ends of a sweep's range, from a tenth of the suggestion to the turn; None where the loss does not fall."""
        return None if self.suggestion is None else (_rounded(self.suggestion / 10), _rounded(self.turn))


def exponential_rates(lowest: float, highest: float, num_steps: int) -> tuple[float, ...]:
    """So many rates, each the same factor above the one before.

    Raises:
        ConfigError: these are no ends of a range, or too few steps to see anything.
    """
    if not 0 < lowest < highest < math.inf:
        raise ConfigError(f"range: from {lowest:g} to {highest:g}; the first should be above 0 and below the second")
    if num_steps < MIN_STEPS:
        raise ConfigError(f"steps: got {num_steps}; it should be at least {MIN_STEPS}, {NUM_STEPS} are usual")
    return tuple(lowest * (highest / lowest) ** (step / (num_steps - 1)) for step in range(num_steps))


def range_test(rates: Sequence[float], step: Callable[[float], float]) -> LrRange:
    """Take a step at each rate until the loss is lost.

    Args:
        rates: ascending.
        step: learns once at a rate, and gives the loss of before.

    Raises:
        DataError: the loss is no number from the start.
    """
    losses: list[float] = []
    running, lost_at = 0.0, None
    for rate in rates:
        loss = step(rate)
        if not math.isfinite(loss):
            lost_at = rate
            break
        losses.append(loss)
        running = loss if len(losses) == 1 else RUNNING_SHARE * running + (1 - RUNNING_SHARE) * loss
        if running > DIVERGED_FACTOR * float(np.mean(losses[:NUM_FIRST_STEPS])):
            lost_at = rate
            break
    if len(losses) < NUM_FIRST_STEPS:
        raise DataError(
            f"lr finder: the loss has doubled or is no number after {len(losses)} steps at {rates[0]:g} and above; "
            "begin lower"
        )
    return _read_off(rates[: len(losses)], losses, lost_at, width=max(1.0, SMOOTHING_FRACTION * len(rates)))


def find_lr(
    recipe: Recipe,
    feed: Feed,
    world: World,
    rates: Sequence[float],
    *,
    tell: Callable[[float, float], None] | None = None,
) -> LrRange:
    """Run the test on a recipe: its batches, augmentation and optimizer, without its schedule; nothing is kept.

    Args:
        recipe: what is trained.
        feed: its batches; after an epoch the next one begins.
        world: a single worker.
        rates: ``optimizer.lr`` of each step, ascending.
        tell: called after each step with its rate and its loss.

    Raises:
        DataError: no video of an epoch can be read, or the loss is no number from the start.
    """
    if recipe.training.compile is not None:  # minutes, for a hundred steps
        recipe = recipe.replace({"training.compile": None}, "lr finder")
    learner = start_learner(recipe, world, label_sets=feed.dataset.train.label_sets)
    learner.model.train()
    batches = _endless(feed)
    scale = recipe.scaled_lr / recipe.optimizer.lr

    def step(rate: float) -> float:
        for group in learner.optimizer.param_groups:
            group["lr"] = rate * scale * group["lr_factor"]
        loss_sum, num_videos = train_step(learner, next(batches))[0].tolist()
        if tell is not None:
            tell(rate, loss_sum / num_videos)
        return float(loss_sum / num_videos)

    try:
        return range_test(rates, step)
    finally:
        batches.close()


def _endless(feed: Feed) -> Generator[Batch, None, None]:
    """Batches with readable videos, epoch after epoch."""
    epoch = 0
    while True:
        num_good = 0
        for batch in feed.train(epoch):
            if batch.num_good:
                num_good += 1
                yield batch
        if not num_good:
            raise DataError(f"lr finder: no video of epoch {epoch + 1} could be read")
        epoch += 1


def _read_off(rates: Sequence[float], losses: Sequence[float], lost_at: float | None, *, width: float) -> LrRange:
    # Unbounded, the last losses of a run that was lost would weigh on all their neighbours.
    first = float(np.mean(losses[:NUM_FIRST_STEPS]))
    smoothed = _smooth(np.minimum(losses, DIVERGED_FACTOR * first), width)
    lowest = int(smoothed.argmin())
    steepest = None
    if lowest > 1 and first - smoothed[lowest] > MIN_GAIN * abs(first):
        slopes = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
        steepest = rates[int(slopes.argmin())]
    above = np.flatnonzero(smoothed[lowest:] > (1 + MIN_GAIN) * first)
    bound = rates[lowest + int(above[0])] if len(above) else lost_at
    return LrRange(tuple(rates), tuple(losses), tuple(smoothed.tolist()), steepest, rates[lowest], bound)


def _smooth(losses: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """``(S,)`` weighted means with neighbours on both sides; at the ends of those that there are."""
    reach = math.ceil(3 * width)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    total = np.convolve(losses, weights)[reach : reach + len(losses)]
    smoothed: NDArray[np.float64] = total / np.convolve(np.ones_like(losses), weights)[reach : reach + len(losses)]
    return smoothed


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")
