"""The training loop in plain torch. It gets batches from a feed, checkpoints to a store, and tells what happens.

``fit`` runs on every worker. Nothing here knows of Ray or MLflow: feed, store and listener are handed in.
"""

import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from kinoray.data.config import Dataset
from kinoray.losses import LossConfig
from kinoray.models.base import Recognizer
from kinoray.models.weights import load_weights, read_state_dict
from kinoray.recipe import Recipe, TrainingConfig
from kinoray.schedules import lr_factor
from kinoray.train.batch import Batch
from kinoray.train.checkpoint import INDEX, Progress, Store, open_checkpoint, write_checkpoint
from kinoray.train.evaluate import evaluate, temporal_probe
from kinoray.train.events import EpochDone, Evaluation, Finished, Listener, Started
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

    def val(self) -> Iterable[Batch]:
        """This worker's share of the val split; all shares together hold every video once."""
        ...


@dataclass(frozen=True)
class Learner:
    """What a training step changes and needs.

    Attributes:
        net: the recognizer, unwrapped.
        model: the same, wrapped for DDP where there are several workers.
    """

    net: Recognizer
    model: nn.Module
    optimizer: Optimizer
    loss: LossConfig
    training: TrainingConfig
    world: World

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """The precision of forward and loss."""
        if self.training.precision == "bf16":
            return torch.autocast(self.world.device.type, dtype=torch.bfloat16)
        return nullcontext()


def fit(recipe: Recipe, feed: Feed, store: Store, world: World, emit: Listener) -> Progress:
    """Train until the recipe's last epoch, from the store's newest checkpoint if there is one.

    Raises:
        DivergenceError: the loss is no longer finite.
        DataError: too many videos of an epoch cannot be read.
    """
    torch.manual_seed(recipe.seed)
    net = recipe.model.build().to(world.device)
    progress, optimizer = _start(net, recipe, store)
    model = DistributedDataParallel(net) if world.size > 1 else net
    learner = Learner(net, model, optimizer, recipe.loss, recipe.training, world)
    emit(
        Started(
            device=world.describe(),
            num_workers=world.size,
            num_parameters=sum(parameter.numel() for parameter in net.parameters()),
            num_epochs=recipe.training.epochs,
            first_epoch=progress.epoch + 1,
            steps_per_epoch=feed.steps_per_epoch,
            num_train_videos=feed.dataset.train.num_videos,
            num_val_videos=feed.dataset.val.num_videos if feed.dataset.val else 0,
        )
    )
    for epoch in range(progress.epoch + 1, recipe.training.epochs):
        model.train()
        _seed_epoch(recipe.seed, epoch, world)
        meter = Meter(world, epoch=epoch, step=progress.step, every_steps=recipe.training.log_every_steps)
        for batch in meter.waiting(feed.train(epoch)):
            lr = _set_lr(optimizer, recipe, meter.step, feed.steps_per_epoch)
            meter.add(*train_step(learner, batch), batch)
            if meter.is_due:
                emit(meter.report(lr))
        trained = meter.close(feed.dataset.train)
        check_bad_videos(trained.bad_videos, feed.dataset.train.num_videos, recipe.data.max_bad_fraction)
        evaluation = _evaluate_epoch(learner, recipe, feed, epoch)
        progress, is_best = _advanced(progress, recipe, trained, evaluation)
        place = _save(learner, recipe, feed, store, progress=progress, evaluation=evaluation)
        emit(replace(trained, evaluation=evaluation, is_best=is_best, checkpoint=place))
    probe = {}
    if recipe.evaluation.temporal_probe and feed.dataset.val:
        probe = temporal_probe(net, feed.val(), world, average=recipe.evaluation.average)
    emit(Finished(probe))
    return progress


def train_step(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
    """One optimizer step on a global batch, of which ``batch`` is this worker's share.

    The loss is the mean over the readable videos of the global batch, however they are dealt to workers.

    Returns:
        ``(2,)`` float64, this worker's sum of losses and number of videos; and ``()`` the gradient's norm.
    """
    world, training = learner.world, learner.training
    clips, labels, weights = batch.on(world.device)
    num_videos = world.sum(weights.sum())
    with learner.autocast():
        logits = learner.model(clips)
    num_views = logits.shape[1]
    losses = learner.loss.per_sample(logits.flatten(0, 1), labels.repeat_interleave(num_views))
    loss_sum = (losses.view(-1, num_views).mean(1) * weights).sum()
    learner.optimizer.zero_grad(set_to_none=True)
    # DDP averages gradients over workers; times their number it sums them.
    torch.autograd.backward(loss_sum * world.size / num_videos.clamp(min=1))
    grad_norm = nn.utils.clip_grad_norm_(learner.net.parameters(), training.clip_grad_norm or float("inf"))
    learner.optimizer.step()
    return torch.stack([loss_sum.detach(), weights.sum()]).double(), grad_norm.detach()


def _start(net: Recognizer, recipe: Recipe, store: Store) -> tuple[Progress, Optimizer]:
    """Weights, optimizer and counters: of the newest checkpoint, else of ``init_from``, else fresh."""
    optimizer = recipe.optimizer.build(net.parameters())
    folder = store.latest()
    if folder is not None:
        checkpoint = open_checkpoint(folder)
        net.load_state_dict(checkpoint.weights())
        optimizer.load_state_dict(checkpoint.training_state()["optimizer"])
        return checkpoint.progress, optimizer
    if recipe.training.init_from is not None:
        source = recipe.training.init_from
        is_ours = (Path(source) / INDEX).is_file() or Path(source).is_dir()
        weights = open_checkpoint(source).weights() if is_ours else read_state_dict(source)
        load_weights(net, weights, where=f"training.init_from: {source}")
    return Progress(epoch=-1, step=0), optimizer


def _evaluate_epoch(learner: Learner, recipe: Recipe, feed: Feed, epoch: int) -> Evaluation | None:
    settings = recipe.evaluation
    is_last = epoch == recipe.training.epochs - 1
    learner.world.average_buffers(learner.net)
    manifest = feed.dataset.val
    if manifest is None or not (is_last or (epoch + 1) % settings.every_epochs == 0):
        return None
    return evaluate(learner.net, feed.val(), learner.world, recipe=recipe, manifest=manifest)


def _advanced(
    progress: Progress, recipe: Recipe, trained: EpochDone, evaluation: Evaluation | None
) -> tuple[Progress, bool]:
    value = evaluation.metrics.get(recipe.evaluation.monitor) if evaluation else None
    is_best = value is not None and (progress.best is None or value > progress.best)
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
            model=learner.net,
            optimizer=learner.optimizer,
            recipe=recipe,
            classes=feed.dataset.classes,
            progress=progress,
            metrics=metrics,
        )
        return store.save(Path(folder), name=name, metrics=metrics)


def _set_lr(optimizer: Optimizer, recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    factor = lr_factor(recipe.schedule, step, steps_per_epoch=steps_per_epoch, num_epochs=recipe.training.epochs)
    for group in optimizer.param_groups:
        group["lr"] = recipe.optimizer.lr * factor
    return recipe.optimizer.lr * factor


def _seed_epoch(seed: int, epoch: int, world: World) -> None:
    """Dropout of an epoch depends on the epoch, so that a resumed run draws what an unbroken one draws."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, world.rank]).generate_state(1)[0]))
