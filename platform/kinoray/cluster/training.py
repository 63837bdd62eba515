"""Runs a recipe on a connected Ray: trains it, or scores a checkpoint with all workers."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.train import (
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    UserCallback,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from kinoray.cluster.elastic import RoomToStay
from kinoray.cluster.mailbox import delivering
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.session import first_line
from kinoray.cluster.watch import PAST, RESIZE_SECONDS
from kinoray.cluster.worker import EvaluationOutcome, EvaluationTask, TrainingTask, evaluate_worker, train_worker
from kinoray.data.config import Dataset
from kinoray.data.manifest import Manifest
from kinoray.data.plan import check_batch_size, num_steps
from kinoray.errors import ConfigError, HungWorkerError, KinorayError
from kinoray.models.pretrained import is_weights_file
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.train.checkpoint import Checkpoint, best_of_run, check_weights
from kinoray.train.events import Listener
from kinoray.train.wrapping import check_workers


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Ray's trainer, whose own handler would turn Ctrl-C into exit code 0."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C to Python; leaving the session ends the workers."""

    def _initialize_and_run_controller(self, scaling_policy: Any, **others: Any) -> Any:
        """Of a range of workers, decide anew how many there are room for."""
        policy = RoomToStay(self.scaling_config) if self.scaling_config.elasticity_enabled else scaling_policy
        return super()._initialize_and_run_controller(scaling_policy=policy, **others)


class StopAtOwnErrors(UserCallback):  # type: ignore[misc]
    """Ends a run at once at an error that would come again: retries are for workers that died."""

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Called by Ray Train, by keyword, in its controller."""
        del run_context
        for error in worker_exceptions.values():
            for cause in _causes(error):
                if isinstance(cause, KinorayError) and not isinstance(cause, HungWorkerError):
                    raise cause


class TellOfEnds(UserCallback):  # type: ignore[misc]
    """Leaves a note of what ended a group of workers, for the start of the next one."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Called by Ray Train, by keyword, in its controller."""
        del run_context
        self._mailbox.pin.remote(PAST, "ends", _ends(worker_exceptions))


def check_run(recipe: Recipe, dataset: Dataset, allocation: Allocation, *, resumes: bool = False) -> None:
    """Find what would only fail once workers are up.

    Args:
        recipe: of the run.
        dataset: of the recipe.
        allocation: what the run gets.
        resumes: whether the run goes on from a checkpoint of its own.

    Raises:
        ConfigError: the global batch suits neither the data nor the workers, or these cannot do what is asked.
        CheckpointError: there is nothing at ``training.init_from`` or ``model.pretrained``.
    """
    num_steps(dataset.train.num_videos, recipe.data.train.batch_size)
    batch_size, most = recipe.data.train.batch_size, allocation.most_workers
    if allocation.workers_range is None:
        check_batch_size(batch_size, most)
    elif batch_size < most:
        raise ConfigError(f"data.train.batch_size: {batch_size} cannot be dealt to {most} workers; at least {most} can")
    check_workers(recipe.training, num_workers=most, on_gpu=allocation.gpus_per_worker > 0)
    if not resumes:  # a run that goes on needs no others, which may be gone by now
        for setting, place in _weights_of(recipe).items():
            check_weights(place, setting)


def train(
    recipe: Recipe,
    dataset: Dataset,
    site: Site,
    allocation: Allocation,
    *,
    run_name: str,
    listeners: Sequence[Listener],
) -> str:
    """Train on Ray Train workers; a run name that exists in the site's storage is continued.

    Returns:
        The place of the best checkpoint, a path or URI; of the last one where nothing was evaluated.

    Raises:
        KinorayError: what a worker raised.
    """
    run_folder = f"{site.storage_path()}/{run_name}"
    if "://" not in run_folder:
        Path(run_folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kinoray-training-") as folder, delivering(listeners) as mailbox:
        task = TrainingTask(
            recipe=with_absolute_weights(recipe),
            dataset=dataset.absolute(),
            allocation=allocation,
            budget=DecodeBudget.of(allocation),
            timeout_seconds=site.collective_timeout_seconds,
            run_folder=run_folder,
            mailbox=mailbox,
        )
        run_config = RunConfig(
            storage_path=folder,  # Ray Train's own notes; checkpoints are ours
            failure_config=FailureConfig(max_failures=site.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
            callbacks=[StopAtOwnErrors(), TellOfEnds(mailbox)],
        )
        num_workers = allocation.workers_range or allocation.num_workers
        torch_config = TorchConfig(timeout_s=site.collective_timeout_seconds)
        _run(train_worker, task, allocation, run_config, num_workers=num_workers, torch_config=torch_config)
    return best_of_run(run_folder)


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
        manifest=manifest.absolute(),
        budget=DecodeBudget.of(allocation),
        num_threads=allocation.threads_per_worker,
        with_probe=with_probe,
    )
    with tempfile.TemporaryDirectory(prefix="kinoray-evaluation-") as folder:
        run_config = RunConfig(storage_path=folder, logging_config=LoggingConfig(log_level="ERROR"))
        outcome = _run(evaluate_worker, task, allocation, run_config, num_workers=allocation.num_workers).return_value
    assert isinstance(outcome, EvaluationOutcome), outcome
    return outcome


def _run(
    worker: Any,
    task: TrainingTask | EvaluationTask,
    allocation: Allocation,
    run_config: RunConfig,
    *,
    num_workers: int | tuple[int, int],
    torch_config: TorchConfig | None = None,
) -> Any:
    trainer = Trainer(
        worker,
        train_loop_config={"task": task},
        torch_config=torch_config,
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
            use_gpu=allocation.gpus_per_worker > 0,
            resources_per_worker=worker_resources(allocation),
        ),
        run_config=run_config,
    )
    try:
        return trainer.fit()
    except TrainingFailedError as failure:
        own = own_error(failure)
        if own is None:
            raise
        own.at_work = True
        raise own from failure


def worker_resources(allocation: Allocation) -> dict[str, float]:
    """What Ray reserves for one worker."""
    resources = {"CPU": allocation.reserved_cpus_per_worker}
    if allocation.gpus_per_worker:
        resources["GPU"] = allocation.gpus_per_worker
    if allocation.workers_range is None:
        return resources
    # Ray counts the workers that fit by dividing floats: 6 x 0.1 CPUs hold 5. Of sixteenths it counts all.
    return {name: math.floor(share * 16) / 16 or share for name, share in resources.items()}


def _weights_of(recipe: Recipe) -> dict[str, str]:
    """Setting -> where its weights lie; names that a family of models gives a meaning to are left out."""
    found = {}
    if (place := recipe.training.init_from) is not None:
        found["training.init_from"] = place
    if isinstance(pretrained := recipe.flat().get("model.pretrained"), str) and is_weights_file(pretrained):
        found["model.pretrained"] = pretrained
    return found


def with_absolute_weights(recipe: Recipe, folder: str = "") -> Recipe:
    """Workers have a working folder of their own; ``folder`` is the job's, where this is not called in the job.

    Links are not followed: a file may be a ``.pth`` by the link's name alone.
    """
    places = _weights_of(recipe).items()
    local = {setting: str((Path(folder) / place).absolute()) for setting, place in places if "://" not in place}
    return recipe.replace(local, "the working folder") if local else recipe


def own_error(failure: Exception) -> KinorayError | None:
    """The error of ours inside Ray's wrapping, the first worker's where several failed; None where there is none."""
    errors: list[BaseException] = [failure]
    if isinstance(failure, WorkerGroupError):
        errors = [error for _, error in sorted(failure.worker_failures.items())]
    elif isinstance(failure, ControllerError):
        errors = [failure.controller_failure]
    return next((cause for error in errors for cause in _causes(error) if isinstance(cause, KinorayError)), None)


def _ends(errors: Mapping[int, Exception]) -> str:
    """What became of workers, in one line; of those that only missed the others, nothing."""
    for error in errors.values():
        if isinstance(error, HungWorkerError):
            return str(error)
    dead = [str(rank) for rank, error in errors.items() if isinstance(error, WorkerHealthCheckFailedError)]
    if dead:
        return f"worker{'s' * (len(dead) > 1)} {', '.join(dead)} died"
    rank, error = min(errors.items())
    return f"worker {rank} failed: {type(error).__name__}: {first_line(error)}"


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = getattr(error, "cause", None) or error.__cause__
    return chain
