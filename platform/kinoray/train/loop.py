"""The training loop in plain torch. It gets batches from a feed, checkpoints to a store, and tells what happens.

``fit`` runs on every worker. Nothing here knows of Ray or MLflow: feed, store and listener are handed in.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.optim import Optimizer

from kinoray.callbacks import Training
from kinoray.data.config import Dataset
from kinoray.data.float_views import FloatView
from kinoray.metrics import merit
from kinoray.recipe import Recipe
from kinoray.schedules import lr_factor
from kinoray.train.batch import Batch
from kinoray.train.callbacks import Callbacks
from kinoray.train.checkpoint import Progress, Store, write_checkpoint
from kinoray.train.evaluate import evaluate, temporal_probe
from kinoray.train.events import EpochDone, Evaluation, Finished, Listener, Started
from kinoray.train.learner import Learner, start_learner, train_step
from kinoray.train.meter import Meter
from kinoray.train.predictions import check_bad_videos
from kinoray.train.sheet import Sheet
from kinoray.train.statistics import renew_statistics
from kinoray.train.world import World


class Feed(Protocol):
    """Where batches come from; this worker's share of them."""

    dataset: Dataset
    steps_per_epoch: int

    def train(self, epoch: int) -> Iterable[Batch]:
        """This worker's slice of each global batch of an epoch, in the plan's order."""
        ...

    def first_batches(self, epoch: int) -> Iterable[Batch]:
        """What ``train`` began with, once more: ``training.precise_batch_norm`` batches, or all if there are fewer."""
        ...

    def val(self, epoch: int) -> Iterable[Batch]:
        """This worker's share of the val split after an epoch; all shares together hold every video once."""
        ...


def fit(
    recipe: Recipe, feed: Feed, store: Store, world: World, emit: Listener, *, reason_to_end: Callable[[], str] = str
) -> Progress:
    """Train until the recipe's last epoch, from the store's newest checkpoint if there is one.

    ``reason_to_end`` is asked before each epoch, and gives the same answer on every worker: empty to go on.

    Raises:
        DivergenceError: the loss is no longer finite.
        DataError: too many videos of an epoch cannot be read.
        UserCodeError: a callback or a metric of the recipe fails.
    """
    learner, progress = start_learner(recipe, store, world, feed.dataset.train.label_sets)
    callbacks = Callbacks(_as_callbacks_see_it(learner, recipe, feed, progress), progress.callbacks, reason_to_end)
    emit(_started(learner, recipe, feed, first_epoch=progress.epoch + 1))
    max_bad = recipe.data.max_bad_fraction * feed.dataset.train.num_videos
    shows_pictures = not isinstance(recipe.data.train, FloatView)
    sheet = Sheet() if world.is_first and shows_pictures else None
    with callbacks.watching():
        callbacks.fit_start()
        for epoch in callbacks.until_stopped(range(progress.epoch + 1, recipe.training.epochs)):
            learner.model.train()
            _seed_epoch(recipe.seed, epoch, world)
            meter = Meter(world, epoch=epoch, step=progress.step, every_steps=recipe.training.log_every_steps)
            for batch in meter.waiting(feed.train(epoch)):
                lr = _set_lr(learner.optimizer, recipe, meter.step, feed.steps_per_epoch)
                loss, grad_norm = train_step(learner, batch, sheet)
                meter.add(loss, grad_norm, batch)
                callbacks.step_end(meter, batch, loss, grad_norm, lr)
                if sheet is not None:
                    emit(sheet.event())
                    sheet = None
                if meter.is_due:
                    if (report := meter.report(lr)) is not None:
                        emit(report)
                    if meter.num_bad > max_bad:
                        break
            trained = meter.close(feed.dataset.train)
            check_bad_videos(trained.bad_videos, feed.dataset.train.num_videos, recipe.data.max_bad_fraction)
            callbacks.epoch_end(trained)
            world.average_buffers(learner.net)
            if learner.average is not None:
                world.average_buffers(learner.result)
            evaluation = _evaluate_epoch(learner, recipe, feed, callbacks, epoch)
            progress, is_best = _advanced(progress, recipe, trained, evaluation)
            place = _save(learner, recipe, feed, store, callbacks, progress=progress, evaluation=evaluation)
            emit(replace(trained, evaluation=evaluation, is_best=is_best, checkpoint=place))
        probe = _probe(learner, recipe, feed, progress.epoch)
        callbacks.fit_end()
    emit(Finished(probe, callbacks.stopped))
    return progress


def _as_callbacks_see_it(learner: Learner, recipe: Recipe, feed: Feed, progress: Progress) -> Training:
    return Training(
        recipe=recipe,
        classes=feed.dataset.classes,
        world=learner.world,
        net=learner.net,
        result=learner.result,
        optimizer=learner.optimizer,
        steps_per_epoch=feed.steps_per_epoch,
        epoch=progress.epoch,
        step=progress.step,
    )


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
        lr_factors=tuple(sorted({group["lr_factor"] for group in learner.optimizer.param_groups})),
        weights=report.text() if (report := learner.net.weights_report) else "",
    )


def _evaluate_epoch(
    learner: Learner, recipe: Recipe, feed: Feed, callbacks: Callbacks, epoch: int
) -> Evaluation | None:
    manifest = feed.dataset.val
    num_epochs = epoch + 1 if callbacks.agree_to_stop() else recipe.training.epochs
    if not recipe.evaluation.is_due(epoch, num_epochs):
        return None
    with learner.whole_result():
        if recipe.training.precise_batch_norm is not None:
            renew_statistics(learner, feed.first_batches(epoch))
        if manifest is None:
            return None
        evaluation = evaluate(learner.result, feed.val(epoch), learner.world, recipe=recipe, manifest=manifest)
        callbacks.evaluate_end(evaluation)
    return evaluation


def _probe(learner: Learner, recipe: Recipe, feed: Feed, epoch: int) -> dict[str, float]:
    manifest = feed.dataset.val
    if manifest is None or not recipe.evaluation.temporal_probe:
        return {}
    with learner.whole_result():
        return temporal_probe(
            learner.result,
            feed.val(epoch),
            learner.world,
            average=recipe.evaluation.average,
            label_sets=manifest.label_sets,
        )


def _advanced(
    progress: Progress, recipe: Recipe, trained: EpochDone, evaluation: Evaluation | None
) -> tuple[Progress, bool]:
    monitor = recipe.evaluation.monitor
    value = evaluation.metrics.get(monitor) if evaluation else None
    # Of equal epochs the later one is best, as stores rank them.
    is_best = value is not None and (progress.best is None or merit(monitor, value) >= merit(monitor, progress.best))
    if is_best:
        return Progress(trained.epoch, trained.step, value, trained.epoch), True
    return replace(progress, epoch=trained.epoch, step=trained.step), False


def _save(
    learner: Learner,
    recipe: Recipe,
    feed: Feed,
    store: Store,
    callbacks: Callbacks,
    *,
    progress: Progress,
    evaluation: Evaluation | None,
) -> str:
    name = f"epoch-{progress.epoch:04d}"
    metrics = dict(evaluation.metrics) if evaluation else {}
    weights, training_state = learner.weights(), learner.state()
    if not learner.world.is_first:
        callbacks.checkpoint(None)
        return store.save(None, name=name, metrics=metrics)
    with tempfile.TemporaryDirectory(prefix="kinoray-checkpoint-") as folder:
        callbacks.checkpoint(Path(folder))
        write_checkpoint(
            Path(folder),
            weights=weights,
            training_state=training_state,
            recipe=recipe,
            classes=feed.dataset.classes,
            progress=replace(progress, callbacks=callbacks.state()),
            metrics=metrics,
        )
        return store.save(Path(folder), name=name, metrics=metrics)


def _set_lr(optimizer: Optimizer, recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    factor = lr_factor(recipe.schedule, step, steps_per_epoch=steps_per_epoch, num_epochs=recipe.training.epochs)
    for group in optimizer.param_groups:
        group["lr"] = recipe.scaled_lr * group["lr_factor"] * factor
    return recipe.scaled_lr * factor


def _seed_epoch(seed: int, epoch: int, world: World) -> None:
    """Dropout of an epoch depends on the epoch, so that a resumed run draws what an unbroken one draws."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, world.rank]).generate_state(1)[0]))
