"""Runs a prediction on a connected Ray: workers come and go, the desk knows what is left, files are the truth."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kinoray.cluster.predict.desk import Desk, Progress
from kinoray.cluster.predict.worker import Assignment, Predictor
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.session import capacity_of
from kinoray.cluster.training import own_error, worker_resources
from kinoray.errors import ResourceError
from kinoray.predict.conclusion import Conclusion, conclude, written_shards
from kinoray.site import Allocation, Capacity, Site, allocate

POLL_SECONDS = 0.5
LOOK_SECONDS = 5.0
"""Between looks at what the cluster has now."""
MAX_DEATHS_AT_START = 3
"""Of workers in a row before anything is written."""

Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Predicted:
    """A finished prediction.

    Attributes:
        written: what there is now, of this run and of earlier ones.
        progress: of this run.
        seconds: of this run.
    """

    written: Conclusion
    progress: Progress
    seconds: float


def share_out(site: Site, capacity: Capacity) -> Allocation:
    """How a cluster predicts: a worker per GPU; without any, one per node, whose CPUs score and decode by halves."""
    if capacity.gpus or site.workers is not None:
        return allocate(site, capacity)
    nodes = [node for node in capacity.nodes if node.cpus]
    least = min((node.cpus for node in nodes), default=1.0)
    half = site.cpus_per_worker or (least / 2 if least <= 2 else float(int(least / 2)))
    return allocate(site.model_copy(update={"workers": len(nodes), "cpus_per_worker": half}), capacity)


def predict(assignment: Assignment, site: Site, listener: Listener) -> Predicted:
    """Score all videos that no earlier run has scored.

    Args:
        assignment: what to do.
        site: on what; nodes that join are used, those that leave are missed.
        listener: told twice a second.

    Raises:
        ResourceError: workers die again and again, or a store stays out of reach.
        KinorayError: what a worker raised.
    """
    started = time.monotonic()
    listing = assignment.listing
    # In the driver's own process there would be nothing to answer while it waits; on another node it could be lost.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote(
        listing.num_shards, written_shards(assignment.output)
    )
    crew = _Crew(ray.put(assignment), desk, site)
    try:
        while (progress := _progress(desk)).num_shards < listing.num_shards:
            listener(progress)
            crew.look_around()
            crew.wait(POLL_SECONDS)
        listener(progress)
    finally:
        crew.dismiss()
    written = conclude(assignment.output, listing, of_windows=assignment.request.window is not None)
    return Predicted(written, progress, time.monotonic() - started)


def _progress(desk: Any) -> Progress:
    found: Progress = ray.get(desk.progress.remote())
    return found


class _Crew:
    """The workers of a run."""

    def __init__(self, assignment: ray.ObjectRef, desk: Any, site: Site) -> None:
        self._assignment, self._desk, self._site = assignment, desk, site
        self._running: dict[ray.ObjectRef, tuple[str, Any]] = {}
        self._num_started = self._num_dead_at_start = self._num_verdicts = 0
        self._looked = -LOOK_SECONDS

    def look_around(self) -> None:
        """Start workers for what the cluster has now."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            try:
                self._allocation = share_out(self._site, capacity_of(self._site))
            except ResourceError:  # nodes are gone that may come back
                if not self._num_started:
                    raise
        while len(self._running) < self._allocation.num_workers:
            self._start(self._allocation)

    def wait(self, seconds: float) -> None:
        """Until a worker ends, or so long."""
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        for reference in ended:
            name, _ = self._running.pop(reference)
            try:
                ray.get(reference)
            except RayTaskError as error:
                own = own_error(error)
                if own is None:
                    raise
                own.at_work = True
                raise own from error
            except RayActorError as error:
                self._replace(name, error)

    def dismiss(self) -> None:
        """End all workers."""
        for _, worker in self._running.values():
            ray.kill(worker)

    def _start(self, allocation: Allocation) -> None:
        self._num_started += 1
        name = f"predictor-{self._num_started}"
        resources = worker_resources(allocation)
        actor = ray.remote(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0.0), max_restarts=0)(Predictor)
        budget, threads = DecodeBudget.of(allocation), allocation.threads_per_worker
        worker = actor.remote(name, self._assignment, self._desk, budget, threads)
        self._running[worker.run.remote()] = name, worker

    def _replace(self, name: str, error: RayError) -> None:
        """A worker died; its work is done again.

        Raises:
            ResourceError: it is of no use to go on.
        """
        hopeless = ray.get(self._desk.lost.remote(name))
        progress = _progress(self._desk)
        is_explained = progress.num_verdicts > self._num_verdicts
        self._num_verdicts = progress.num_verdicts
        self._num_dead_at_start = 0 if progress.tally.num_videos or is_explained else self._num_dead_at_start + 1
        if hopeless is None and self._num_dead_at_start < MAX_DEATHS_AT_START:
            return
        what = "workers die before they score anything" if hopeless is None else f"shard {hopeless} kills its workers"
        why = " ".join(str(error).split())[:300]
        problem = ResourceError(f"cluster: {what}; the last death: {why}; memory may be short: lower --batch-size")
        problem.at_work = True
        raise problem
