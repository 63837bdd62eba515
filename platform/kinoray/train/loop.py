"""The training loop in plain torch. It gets batches from a feed, checkpoints to a store, and tells what happens.

``fit`` runs on every worker. Nothing here knows of Ray or MLflow: feed, store and listener are handed in.
"""

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.optim import Optimizer

from kinoray.callbacks import Training
from kinoray.data.config import Dataset
from kinoray.data.float_views import FloatView
from kinoray.errors import CheckpointError, DivergenceError
from kinoray.metrics import merit
from kinoray.recipe import Recipe
from kinoray.schedules import lr_factor
from kinoray.train.batch import Batch
from kinoray.train.callbacks import Callbacks
from kinoray.train.checkpoint import Checkpoint, Progress, open_checkpoint
from kinoray.train.evaluate import evaluate, temporal_probe
from kinoray.train.events import Diverged, EpochDone, Evaluation, Finished, Listener, Started
from kinoray.train.history import History
from kinoray.train.learner import Learner, mean_statistics, start_learner, train_step
from kinoray.train.meter import Meter
from kinoray.train.predictions import check_bad_videos
from kinoray.train.sharding import local_part
from kinoray.train.sheet import Sheet
from kinoray.train.statistics import renew_statistics
from kinoray.train.store import Draft, Store, copied, settled
from kinoray.train.world import World

MAX_ROLL_BACKS = 5
"""Of one process: what diverges again and again has another cause than a batch."""


class Feed(Protocol):
    """Where batches come from; this worker's share of them."""

    dataset: Dataset
    steps_per_epoch: int

    def train(self, epoch: int, *, done: int = 0) -> Iterable[Batch]:
        """This worker's slice of each global batch of an epoch, in the plan's order.

        Args:
            epoch: counted from 0.
            done: videos at the plan's beginning that are not read again.
        """
        ...

    def first_batches(self, epoch: int) -> Iterable[Batch]:
        """What an epoch begins with, once more: ``training.precise_batch_norm`` batches, or all if there are fewer."""
        ...

    def val(self, epoch: int) -> Iterable[Batch]:
        """This worker's share of the val split after an epoch; all shares together hold every video once."""
        ...


def fit(
    recipe: Recipe,
    feed: Feed,
    store: Store,
    world: World,
    emit: Listener,
    *,
    reason_to_end: Callable[[], str] = str,
    save_asked: Callable[[], bool] = bool,
) -> Progress:
    """Train until the recipe's last epoch, from the store's newest checkpoint if there is one.

    Args:
        recipe: what is computed.
        feed: where batches come from.
        store: where checkpoints go.
        world: this worker.
        emit: is told what happens.
        reason_to_end: asked before each epoch, gives the same answer on every worker: empty to go on.
        save_asked: asked at each report, on any worker: whether a checkpoint is wanted now.

    Raises:
        DivergenceError: the loss is no longer finite.
        DataError: too many videos of an epoch cannot be read.
        UserCodeError: a callback or a metric of the recipe fails.
        CheckpointError: a checkpoint cannot be stored, or none that is there can be used.
    """
    left_out: frozenset[int] = frozenset()
    with settled(store, is_first=world.is_first):
        while True:
            run = _Run(recipe, feed, store, world, emit, left_out=left_out, save_asked=save_asked)
            try:
                return run.to_the_end(reason_to_end)
            except DivergenceError as error:
                is_new = error.step not in left_out and len(left_out) < MAX_ROLL_BACKS
                rolls_back = recipe.training.on_divergence == "roll_back" and is_new
                if world.is_first:
                    emit(_diverged(error, feed, epoch=run.progress.epoch + 1, rolls_back=rolls_back))
                if not rolls_back:
                    raise
                left_out |= {error.step}
            del run  # its weights, before there are others
            gc.collect()  # blocks that are computed again refer to themselves


class _Run:
    """A training from where its store leaves off.

    Args:
        left_out: steps whose batches are not learned, because they diverge.
    """

    def __init__(
        self,
        recipe: Recipe,
        feed: Feed,
        store: Store,
        world: World,
        emit: Listener,
        *,
        left_out: frozenset[int],
        save_asked: Callable[[], bool],
    ) -> None:
        self.recipe, self.feed, self.store, self.world, self.emit = recipe, feed, store, world, emit
        self.left_out, self.save_asked = left_out, save_asked
        checkpoint = _newest(store, world)
        past = {} if checkpoint is None else checkpoint.training_state()
        self.learner = start_learner(recipe, world, checkpoint=checkpoint, label_sets=feed.dataset.train.label_sets)
        self.progress = Progress(epoch=-1, step=0) if checkpoint is None else checkpoint.progress
        if checkpoint is not None and self.progress.videos:
            self._check_plan(checkpoint, past["plan"])
        self.history = History.of(past["told"]) if "told" in past else History()
        self._past_of_epoch: Mapping[str, Any] = past.get("epoch", {})
        shows_pictures = not isinstance(recipe.data.train, FloatView)
        self._sheet = Sheet() if world.is_first and shows_pictures else None

    def to_the_end(self, reason_to_end: Callable[[], str]) -> Progress:
        """See ``fit``."""
        self.callbacks = Callbacks(self._as_callbacks_see_it(), self.progress.callbacks, reason_to_end)
        self.emit(self._started())
        if self.world.is_first and self.progress.step:
            self.emit(self.history.recalled())
        with self.callbacks.watching():
            self.callbacks.fit_start()
            for epoch in self.callbacks.until_stopped(range(self.progress.epoch + 1, self.recipe.training.epochs)):
                self._epoch(epoch)
            probe = self._probe()
            if self.world.is_first:
                self.store.settle()
            self.callbacks.fit_end()
        self.emit(Finished(probe, self.callbacks.stopped))
        return self.progress

    def _epoch(self, epoch: int) -> None:
        recipe, learner = self.recipe, self.learner
        trained = self._train(epoch)
        check_bad_videos(trained.bad_videos, self.feed.dataset.train.num_videos, recipe.data.max_bad_fraction)
        self.callbacks.epoch_end(trained)
        self.world.average_buffers(learner.net)
        if learner.average is not None:
            self.world.average_buffers(learner.result)
        evaluation = self._evaluate(epoch)
        self.progress, is_best = _advanced(self.progress, recipe, trained, evaluation)
        name = f"epoch-{epoch:04d}"
        done = replace(trained, evaluation=evaluation, is_best=is_best, checkpoint=self.store.place(name))
        self.history.add(done)
        self._save(name, metrics=dict(evaluation.metrics) if evaluation else {})
        self.emit(done)

    def _train(self, epoch: int) -> EpochDone:
        """Learn what is left of an epoch."""
        recipe, learner, world, train = self.recipe, self.learner, self.world, self.feed.dataset.train
        batch_size, save_every = recipe.data.train.batch_size, recipe.training.checkpoint_every_steps
        learner.model.train()
        meter = Meter(world, epoch=epoch, step=self.progress.step, past=self._past_of_epoch)
        self._past_of_epoch, done = {}, self.progress.videos
        for batch in meter.waiting(self.feed.train(epoch, done=done)):
            # By its place in the epoch: the steps before were perhaps of batches of another size.
            place = epoch * self.feed.steps_per_epoch + done // batch_size
            lr = _set_lr(learner.optimizer, recipe, place, self.feed.steps_per_epoch)
            done += batch_size
            self._learn(batch, meter, lr)
            is_save_due = save_every is not None and meter.step % save_every == 0
            if is_save_due or meter.step % recipe.training.log_every_steps == 0:
                if world.is_first:
                    self.store.check()
                if (report := meter.report(lr, asks_to_save=self.save_asked())) is not None:
                    self.history.add(report)
                    self.emit(report)
                if meter.num_bad > recipe.data.max_bad_fraction * train.num_videos:
                    break
                if (is_save_due or meter.is_save_asked) and done + batch_size <= train.num_videos:
                    _check_finite(learner, meter.learned)
                    self.progress = replace(self.progress, step=meter.step, videos=done)
                    self.callbacks.reached(epoch, meter.step)
                    self._save(f"epoch-{epoch:04d}-step-{meter.step:08d}", metrics={}, meter=meter)
                    meter.leave_out_time()
        trained = meter.close(train)
        _check_finite(learner, meter.learned)
        return trained

    def _learn(self, batch: Batch, meter: Meter, lr: float) -> None:
        if meter.step in self.left_out:
            meter.leave_out()
            return
        _seed_step(self.recipe.seed, meter.step, self.world)
        loss, grad_norm = train_step(self.learner, batch, self._sheet)
        meter.add(loss, grad_norm, batch)
        self.callbacks.step_end(meter, batch, loss, grad_norm, lr)
        if self._sheet is not None:
            self.emit(self._sheet.event())
            self._sheet = None

    def _evaluate(self, epoch: int) -> Evaluation | None:
        recipe, learner, manifest = self.recipe, self.learner, self.feed.dataset.val
        num_epochs = epoch + 1 if self.callbacks.agree_to_stop() else recipe.training.epochs
        if not recipe.evaluation.is_due(epoch, num_epochs):
            return None
        with learner.whole_result():
            if recipe.training.precise_batch_norm is not None:
                renew_statistics(learner, self.feed.first_batches(epoch))
            if manifest is None:
                return None
            batches = self.feed.val(epoch)
            evaluation = evaluate(learner.result, batches, self.world, recipe=recipe, manifest=manifest)
            self.callbacks.evaluate_end(evaluation)
        return evaluation

    def _probe(self) -> dict[str, float]:
        manifest, how = self.feed.dataset.val, self.recipe.evaluation
        if manifest is None or not how.temporal_probe:
            return {}
        batches = self.feed.val(self.progress.epoch)
        with self.learner.whole_result():
            return temporal_probe(
                self.learner.result, batches, self.world, average=how.average, label_sets=manifest.label_sets
            )

    def _save(self, name: str, *, metrics: Mapping[str, float], meter: Meter | None = None) -> None:
        """Store a checkpoint; in the middle of an epoch with what has been counted of it."""
        learner = self.learner
        weights, state = learner.weights(), learner.state()
        of_epoch: dict[str, Any] = {} if meter is None else {"epoch": meter.state(), "statistics": learner.statistics()}
        if not self.world.is_first:
            self.callbacks.checkpoint(None)
            return
        self.store.settle()  # before there is another copy in memory
        if of_epoch:
            mean = mean_statistics(of_epoch["statistics"])
            weights |= mean
            state |= {**of_epoch, "plan": self._plan}
            if "model" in state:
                state["model"] |= mean
        files = Path(tempfile.mkdtemp(prefix="kinoray-checkpoint-"))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, files, ignore_errors=True)
            self.callbacks.checkpoint(files)
            draft = Draft(
                weights=copied(weights),
                training_state=copied({**state, "told": self.history.state()}),
                recipe=self.recipe,
                classes=self.feed.dataset.classes,
                progress=replace(self.progress, callbacks=self.callbacks.state()),
                metrics=metrics,
                files=files,
            )
            stack.pop_all()  # the store removes them
        self.store.save(draft, name=name)

    @cached_property
    def _plan(self) -> str:
        """What the order of an epoch's videos follows from."""
        return f"seed {self.recipe.seed}, train manifest {self.feed.dataset.train.digest()}"

    def _check_plan(self, checkpoint: Checkpoint, plan: str) -> None:
        """Raises CheckpointError where an epoch cannot go on, because its order is another now."""
        if plan != self._plan:
            raise CheckpointError(
                f"{checkpoint.folder}: in the middle of epoch {checkpoint.progress.epoch + 2} of {plan}, which cannot "
                f"go on with {self._plan}; give the same seed and videos, or start anew with training.init_from"
            )

    def _as_callbacks_see_it(self) -> Training:
        learner = self.learner
        return Training(
            recipe=self.recipe,
            classes=self.feed.dataset.classes,
            world=self.world,
            net=learner.net,
            result=learner.result,
            optimizer=learner.optimizer,
            steps_per_epoch=self.feed.steps_per_epoch,
            epoch=self.progress.epoch,
            step=self.progress.step,
        )

    def _started(self) -> Started:
        learner, dataset = self.learner, self.feed.dataset
        return Started(
            device=self.world.describe(),
            num_workers=self.world.size,
            num_parameters=sum(parameter.numel() for parameter in learner.net.parameters()),
            num_epochs=self.recipe.training.epochs,
            first_epoch=self.progress.epoch + 1,
            first_step=self.progress.step,
            steps_per_epoch=self.feed.steps_per_epoch,
            num_train_videos=dataset.train.num_videos,
            num_val_videos=dataset.val.num_videos if dataset.val else 0,
            lr_factors=tuple(sorted({group["lr_factor"] for group in learner.optimizer.param_groups})),
            weights=report.text() if (report := learner.net.weights_report) else "",
            notes=tuple(self.store.passed_over),
        )


def _newest(store: Store, world: World) -> Checkpoint | None:
    """The checkpoint to go on from, which all workers have to agree on."""
    place = world.share(store.newest() if world.is_first else None)
    return None if place is None else open_checkpoint(store.fetch(place))


def _check_finite(learner: Learner, step: int) -> None:
    """Raises DivergenceError where the last step, counted from 0, has left weights that no loss has told of yet."""
    flags = [local_part(parameter.detach()).isfinite().all() for parameter in learner.net.parameters()]
    num_bad = learner.world.sum(torch.stack([~flag for flag in flags]).double().sum())
    if num_bad:
        raise DivergenceError(
            f"training diverged: after step {step + 1} some weights are no longer numbers, although the loss was "
            "one; lower optimizer.lr, warm up longer, or set training.clip_grad_norm",
            step=step,
        )


def _diverged(error: DivergenceError, feed: Feed, *, epoch: int, rolls_back: bool) -> Diverged:
    train = feed.dataset.train
    videos = tuple((name, train.path_of(name)) for name in error.videos)
    return Diverged(epoch, error.step, str(error), videos, rolls_back)


def _advanced(
    progress: Progress, recipe: Recipe, trained: EpochDone, evaluation: Evaluation | None
) -> tuple[Progress, bool]:
    monitor = recipe.evaluation.monitor
    value = evaluation.metrics.get(monitor) if evaluation else None
    # Of equal epochs the later one is best, as stores rank them.
    is_best = value is not None and (progress.best is None or merit(monitor, value) >= merit(monitor, progress.best))
    if is_best:
        return Progress(trained.epoch, trained.step, best=value, best_epoch=trained.epoch), True
    return replace(progress, epoch=trained.epoch, step=trained.step, videos=0), False


def _set_lr(optimizer: Optimizer, recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    factor = lr_factor(recipe.schedule, step, steps_per_epoch=steps_per_epoch, num_epochs=recipe.training.epochs)
    for group in optimizer.param_groups:
        group["lr"] = recipe.scaled_lr * group["lr_factor"] * factor
    return recipe.scaled_lr * factor


def _seed_step(seed: int, step: int, world: World) -> None:
    """Dropout of a step depends on the step, so that a resumed run draws what an unbroken one draws."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, world.rank]).generate_state(1)[0]))
