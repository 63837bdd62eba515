"""The training loop in plain torch. It gets batches from a feed, checkpoints to a store, and tells what happens.

``fit`` runs on every worker. Nothing here knows of Ray or MLflow: feed, store and listener are handed in.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.optim import Optimizer

from kinoray.data.config import Dataset
from kinoray.recipe import Recipe
from kinoray.schedules import lr_factor
from kinoray.train.batch import Batch
from kinoray.train.checkpoint import Progress, Store, write_checkpoint
from kinoray.train.evaluate import evaluate, temporal_probe
from kinoray.train.events import EpochDone, Evaluation, Finished, Listener, Started
from kinoray.train.learner import Learner, start_learner, train_step
from kinoray.train.meter import Meter
from kinoray.train.predictions import check_bad_videos
from kinoray.train.world import World


class Feed(Protocol):
    """Where batches come from; this worker's share of them."""

    dataset: Dataset
    steps_per_epoch: int

    def train(self, epoch: int) -> Iterable[Batch]:
        """This worker's slice of each global batch of an epoch, in the plan's order."""
        ...

    def val(self, epoch: int) -> Iterable[Batch]:
        """This worker's share of the val split after an epoch; all shares together hold every video once."""
        ...


def fit(recipe: Recipe, feed: Feed, store: Store, world: World, emit: Listener) -> Progress:
    """Train until the recipe's last epoch, from the store's newest checkpoint if there is one.

    Raises:
        DivergenceError: the loss is no longer finite.
        DataError: too many videos of an epoch cannot be read.
    """
    learner, progress = start_learner(recipe, store, world)
    emit(_started(learner, recipe, feed, first_epoch=progress.epoch + 1))
    max_bad = recipe.data.max_bad_fraction * feed.dataset.train.num_videos
    for epoch in range(progress.epoch + 1, recipe.training.epochs):
        learner.model.train()
        _seed_epoch(recipe.seed, epoch, world)
        meter = Meter(world, epoch=epoch, step=progress.step, every_steps=recipe.training.log_every_steps)
        for batch in meter.waiting(feed.train(epoch)):
            lr = _set_lr(learner.optimizer, recipe, meter.step, feed.steps_per_epoch)
            meter.add(*train_step(learner, batch), batch)
            if meter.is_due:
                if (report := meter.report(lr)) is not None:
                    emit(report)
                if meter.num_bad > max_bad:
                    break
        trained = meter.close(feed.dataset.train)
        check_bad_videos(trained.bad_videos, feed.dataset.train.num_videos, recipe.data.max_bad_fraction)
        world.average_buffers(learner.net)
        if learner.average is not None:
            world.average_buffers(learner.result)
        evaluation = _evaluate_epoch(learner, recipe, feed, epoch)
        progress, is_best = _advanced(progress, recipe, trained, evaluation)
        place = _save(learner, recipe, feed, store, progress=progress, evaluation=evaluation)
        emit(replace(trained, evaluation=evaluation, is_best=is_best, checkpoint=place))
    probe = {}
    if recipe.evaluation.temporal_probe and feed.dataset.val:
        probe = temporal_probe(learner.result, feed.val(progress.epoch), world, average=recipe.evaluation.average)
    emit(Finished(probe))
    return progress


def _started(learner: Learner, recipe: Recipe, feed: Feed, *, first_epoch: int) -> Started:
    return Started(
        device=learner.world.describe(),
        num_workers=learner.world.size,
        num_parameters=sum(parameter.numel() for parameter in learner.net.parameters()),
        num_epochs=recipe.training.epochs,
        first_epoch=first_epoch,
        steps_per_epoch=feed.steps_per_epoch,
        num_train_videos=feed.dataset.train.num_videos,
        num_val_videos=feed.dataset.val.num_videos if feed.dataset.val else 0,
    )


def _evaluate_epoch(learner: Learner, recipe: Recipe, feed: Feed, epoch: int) -> Evaluation | None:
    manifest = feed.dataset.val
    if manifest is None or not recipe.evaluation.is_due(epoch, recipe.training.epochs):
        return None
    return evaluate(learner.result, feed.val(epoch), learner.world, recipe=recipe, manifest=manifest)


def _advanced(
    progress: Progress, recipe: Recipe, trained: EpochDone, evaluation: Evaluation | None
) -> tuple[Progress, bool]:
    value = evaluation.metrics.get(recipe.evaluation.monitor) if evaluation else None
    # Of equal epochs the later one is best, as stores rank them.
    is_best = value is not None and (progress.best is None or value >= progress.best)
    if is_best:
        return Progress(trained.epoch, trained.step, value, trained.epoch), True
    return replace(progress, epoch=trained.epoch, step=trained.step), False


def _save(
    learner: Learner, recipe: Recipe, feed: Feed, store: Store, *, progress: Progress, evaluation: Evaluation | None
) -> str:
    name = f"epoch-{progress.epoch:04d}"
    metrics = dict(evaluation.metrics) if evaluation else {}
    if not learner.world.is_first:
        return store.save(None, name=name, metrics=metrics)
    with tempfile.TemporaryDirectory(prefix="kinoray-checkpoint-") as folder:
        write_checkpoint(
            Path(folder),
            model=learner.result,
            training_state=learner.state(),
            recipe=recipe,
            classes=feed.dataset.classes,
            progress=progress,
            metrics=metrics,
        )
        return store.save(Path(folder), name=name, metrics=metrics)


def _set_lr(optimizer: Optimizer, recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    factor = lr_factor(recipe.schedule, step, steps_per_epoch=steps_per_epoch, num_epochs=recipe.training.epochs)
    for group in optimizer.param_groups:
        group["lr"] = recipe.optimizer.lr * group["lr_factor"] * factor
    return recipe.optimizer.lr * factor


def _seed_epoch(seed: int, epoch: int, world: World) -> None:
    """Dropout of an epoch depends on the epoch, so that a resumed run draws what an unbroken one draws."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, world.rank]).generate_state(1)[0]))
