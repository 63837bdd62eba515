"""Runs a recipe on a connected Ray: trains it, or scores a checkpoint with all workers."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from kinoray.cluster.ingest import DecodeBudget
from kinoray.cluster.mailbox import delivering
from kinoray.cluster.worker import EvaluationOutcome, EvaluationTask, TrainingTask, evaluate_worker, train_worker
from kinoray.data.config import Dataset
from kinoray.data.manifest import Manifest
from kinoray.data.plan import check_batch_size, num_steps
from kinoray.errors import KinorayError
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.train.checkpoint import Checkpoint
from kinoray.train.events import Listener


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind: places of checkpoints, each a path or URI.

    Attributes:
        best_checkpoint: the last one where nothing was evaluated.
    """

    best_checkpoint: str
    last_checkpoint: str


def check_batch(recipe: Recipe, dataset: Dataset, allocation: Allocation) -> None:
    """Raises ConfigError where the global batch suits neither the data nor the workers."""
    num_steps(dataset.train.num_videos, recipe.data.train.batch_size)
    check_batch_size(recipe.data.train.batch_size, allocation.num_workers)


def train(
    recipe: Recipe,
    dataset: Dataset,
    site: Site,
    allocation: Allocation,
    *,
    run_name: str,
    listeners: Sequence[Listener],
) -> TrainingResult:
    """Train on Ray Train workers; a run name that exists in the site's storage is continued.

    Raises:
        KinorayError: what a worker raised.
    """
    monitor = recipe.evaluation.monitor
    storage = site.storage_path()
    run_config = RunConfig(
        name=run_name,
        storage_path=storage,
        checkpoint_config=CheckpointConfig(
            num_to_keep=recipe.training.keep_best, checkpoint_score_attribute=monitor, checkpoint_score_order="max"
        ),
        failure_config=FailureConfig(max_failures=site.max_failures),
        logging_config=LoggingConfig(log_level="ERROR"),
    )
    with delivering(listeners) as mailbox:
        task = TrainingTask(
            recipe=recipe,
            dataset=dataset,
            budget=DecodeBudget.of(allocation),
            num_threads=allocation.threads_per_worker,
            run_folder=f"{storage}/{run_name}",
            mailbox=mailbox,
        )
        result = _run(train_worker, task, allocation, run_config)
    ranked = sorted(result.best_checkpoints, key=lambda pair: (pair[1].get(monitor, -1.0), pair[0].path), reverse=True)
    # Ray names a checkpoint in a store without the scheme; its folder's name is enough.
    best, last = (
        f"{storage}/{run_name}/{checkpoint.path.rpartition('/')[2]}" for checkpoint in (ranked[0][0], result.checkpoint)
    )
    return TrainingResult(best_checkpoint=best, last_checkpoint=last)


def evaluate(
    recipe: Recipe, checkpoint: Checkpoint, manifest: Manifest, allocation: Allocation, *, split: str, with_probe: bool
) -> EvaluationOutcome:
    """Score every video of a manifest once, with all workers.

    Raises:
        CheckpointError: its weights do not fit the recipe's model.
        KinorayError: what a worker raised.
    """
    checkpoint.restore_model(recipe.model.without_pretrained().build())
    task = EvaluationTask(
        recipe=recipe,
        weights=ray.put(checkpoint.weights()),
        split=split,
        manifest=manifest,
        budget=DecodeBudget.of(allocation),
        num_threads=allocation.threads_per_worker,
        with_probe=with_probe,
    )
    with tempfile.TemporaryDirectory(prefix="kinoray-evaluation-") as folder:
        run_config = RunConfig(storage_path=folder, logging_config=LoggingConfig(log_level="ERROR"))
        outcome = _run(evaluate_worker, task, allocation, run_config).return_value
    assert isinstance(outcome, EvaluationOutcome), outcome
    return outcome


def _run(worker: Any, task: TrainingTask | EvaluationTask, allocation: Allocation, run_config: RunConfig) -> Any:
    trainer = TorchTrainer(
        worker,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=allocation.num_workers,
            use_gpu=allocation.gpus_per_worker > 0,
            resources_per_worker=_resources(allocation),
        ),
        run_config=run_config,
    )
    try:
        return trainer.fit()
    except TrainingFailedError as failure:
        error = _own_error(failure)
        if isinstance(error, KinorayError):
            error.at_work = True
        raise error from failure


def _resources(allocation: Allocation) -> dict[str, float]:
    resources = {"CPU": allocation.cpus_per_worker}
    if allocation.gpus_per_worker:
        resources["GPU"] = allocation.gpus_per_worker
    return resources


def _own_error(failure: Exception) -> Exception:
    """The error that a worker raised, out of Ray's wrapping; the first worker's where several failed."""
    if not isinstance(failure, WorkerGroupError):
        return failure
    errors = [error for _, error in sorted(failure.worker_failures.items())]
    own = [cause for error in errors for cause in _causes(error) if isinstance(cause, KinorayError)]
    return own[0] if own else failure


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = getattr(error, "cause", None) or error.__cause__
    return chain
