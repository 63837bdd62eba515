"""What runs inside a Ray Train worker: it dresses Ray's services as what the plain-torch loop asks for."""

import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from kinoray.cluster.ingest import RayFeed, evaluation_stream
from kinoray.cluster.mailbox import sender
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.watch import PAST, Preemption, SaveReasons, naming_the_hung
from kinoray.data.config import Dataset
from kinoray.data.manifest import Manifest
from kinoray.errors import ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Allocation
from kinoray.train.evaluate import predict, temporal_probe
from kinoray.train.events import Event, Listener, Started
from kinoray.train.loop import fit
from kinoray.train.predictions import Predictions, gather_predictions
from kinoray.train.store import RunStore
from kinoray.train.world import World


@dataclass(frozen=True)
class TrainingTask:
    """All that a training worker needs to know.

    Attributes:
        budget: at the start; where nodes are lost, there may be less.
        timeout_seconds: how long an exchange waits for a worker.
        run_folder: where the run's checkpoints are stored, path or URI.
        mailbox: the actor that takes events and notes.
    """

    recipe: Recipe
    dataset: Dataset
    allocation: Allocation
    budget: DecodeBudget
    timeout_seconds: float
    run_folder: str
    mailbox: Any


@dataclass(frozen=True)
class EvaluationTask:
    """All that an evaluating worker needs to know; ``weights`` is a state dict in the object store."""

    recipe: Recipe
    weights: ray.ObjectRef
    split: str
    manifest: Manifest
    budget: DecodeBudget
    num_threads: int
    with_probe: bool


@dataclass(frozen=True)
class EvaluationOutcome:
    """What rank 0 returns: all predictions, and the temporal probe if it was asked for."""

    predictions: Predictions
    probe: Mapping[str, float]
    seconds: float


def train_worker(config: Mapping[str, TrainingTask]) -> None:
    """One worker of a training run."""
    task = config["task"]
    check_storage(task.run_folder)
    recipe, allocation = task.recipe, task.allocation
    world = enter_world(allocation.threads_per_worker)
    budget = budget_now(task.budget, world.size, allocation.reserved_cpus_per_worker)
    feed = RayFeed(recipe, task.dataset, world, budget)
    store = RunStore(task.run_folder, monitor=recipe.evaluation.monitor, keep_best=recipe.training.keep_best)
    emit = _with_past(task.mailbox) if world.is_first else _ignore
    preemption = Preemption()
    save_asked = SaveReasons(preemption, grows=world.size < allocation.most_workers) if world.is_first else bool
    with naming_the_hung(task.mailbox, world, preemption, timeout_seconds=task.timeout_seconds, step=lambda: feed.step):
        fit(recipe, feed, store, world, emit, save_asked=save_asked)


def evaluate_worker(config: Mapping[str, EvaluationTask]) -> EvaluationOutcome | None:
    """One worker of an evaluation; rank 0 returns the outcome."""
    task = config["task"]
    world = enter_world(task.num_threads)
    model = task.recipe.model.without_pretrained().build()
    model.load_state_dict(ray.get(task.weights))
    model = model.to(world.device).eval()
    average, label_sets = task.recipe.evaluation.average, task.manifest.label_sets
    started = time.perf_counter()

    def batches() -> Any:
        return evaluation_stream(task.recipe, task.split, task.manifest.table, world, task.budget).batches()

    share = predict(model, batches(), average=average, world=world, multi_label=label_sets is not None)
    predictions = gather_predictions(share, world)
    seconds = time.perf_counter() - started
    probe = {}
    if task.with_probe:
        probe = temporal_probe(model, batches(), world, average=average, label_sets=label_sets)
    return None if predictions is None else EvaluationOutcome(predictions, probe, seconds)


def check_storage(folder: str) -> None:
    """Raises ResourceError where this node does not see the folder of a run."""
    if "://" not in folder and not Path(folder).is_dir():
        raise ResourceError(
            f"site.storage: {folder} is not there on {socket.gethostname()}; with several nodes give a folder "
            "that all of them mount, or a URI such as s3://bucket/runs"
        )


def enter_world(num_threads: int) -> World:
    """This worker's place in its group; Ray's reports are hushed."""
    import ray.train.v2._internal.execution.context as train_context

    # Named after its file, so no logging configuration reaches it; it repeats every report in full.
    train_context.logger.setLevel(logging.WARNING)
    torch.set_num_threads(num_threads)
    context = ray.train.get_context()
    return World(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())


def budget_now(budget: DecodeBudget, num_workers: int, reserved_cpus: float) -> DecodeBudget:
    """What decodes for a worker with the CPUs that the cluster has now.

    Where those for tasks went with their nodes, Ray would wait for them; then the worker's own threads decode all.

    Args:
        budget: at the run's start.
        num_workers: that there are now.
        reserved_cpus: of each of them.
    """
    free = ray.cluster_resources().get("CPU", 0.0) / num_workers - reserved_cpus
    if free >= budget.cpus - 1e-3:
        return budget
    if free < budget.cpus_per_task - 1e-3:
        return replace(budget, threads=max(1, budget.threads), beside_share=1.0, cpus=0.0)
    return replace(budget, cpus=free)


def _with_past(mailbox: Any) -> Listener:
    """The first worker's listener; the run's start is told with what ended an earlier one."""
    send = sender(mailbox)

    def emit(event: Event) -> None:
        if isinstance(event, Started):
            past = ray.get(mailbox.unpinned.remote(PAST))
            event = replace(event, notes=(*past.values(), *event.notes))
        send(event)

    return emit


def _ignore(event: object) -> None:
    """The listener of every worker but the first."""
