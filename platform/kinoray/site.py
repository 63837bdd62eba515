"""A site: where a recipe is computed, and whether the place can hold it."""

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from kinoray.config.base import Config
from kinoray.config.layers import Layered, override, read_layers
from kinoray.config.problems import validate
from kinoray.config.text import flatten
from kinoray.errors import ResourceError

MIN_DECODE_CPUS = 0.5
MIN_SHARE = 1e-4
"""Ray counts CPUs and GPUs in ten-thousandths."""
MAX_DERIVED_THREADS = 4
"""Threads that decode take turns with the model's own Python; more of them than this are better off as processes."""


class Site(Config):
    """A machine or cluster and how it is shared between training and decoding.

    What is left out is derived from what the cluster has: a worker per GPU, or one worker; one CPU for each worker with
    a GPU, else for all workers together the CPUs that ``decode_cpus`` leaves or half of them; all other CPUs decode.
    Where these are few for each worker its own threads do it; where they are many, or on other nodes, Ray Data does.
    """

    address: str | None = None
    """Of a Ray cluster, e.g. ``auto`` or ``10.0.0.1:6379``; None: the cluster that runs this job, else this machine."""
    local_cpus: int | None = Field(None, gt=0)
    """CPUs that a Ray on this machine may use; None: all."""
    workers: int | None = Field(None, gt=0)
    """Processes that train, each with a copy of the model."""
    min_workers: int | None = Field(None, gt=0)
    """The fewest that training starts or goes on with where nodes are missing; with nodes that come it grows to
    ``workers`` again. None: always as many as at the start."""
    cpus_per_worker: float | None = Field(None, ge=MIN_SHARE)
    gpus_per_worker: float | None = Field(None, ge=0)
    decode_cpus: float | None = Field(None, ge=MIN_SHARE)
    """CPUs of the whole cluster that decode; None: all that training leaves."""
    decode_threads: int | None = Field(None, ge=0)
    """Threads that decode beside each worker, in its process, a CPU of ``decode_cpus`` each; the rest of these is for
    tasks on any node. None: all of them beside where each worker has at most four and they fit its node, else none."""
    storage: str = Field("./runs", pattern=r"^[^?]+$")
    """Folder or URI (s3://, gs://) for checkpoints; on several nodes it must be reachable from all."""
    tracking_uri: str | None = None
    """Of MLflow; None: an SQLite file in a local ``storage``."""
    experiment: str = Field("kinoray", min_length=1)
    """Of MLflow."""
    max_failures: int = Field(3, ge=-1)
    """How often training restarts from its last checkpoint after a worker died or hung; -1: without limit. A node that
    is preempted does not count."""
    collective_timeout_seconds: float = Field(600, ge=1)
    """How long workers wait in an exchange for one that does not come, before it is named and training restarts."""
    price_per_cpu_hour: float | None = Field(None, ge=0)
    """What a CPU costs, in any currency; a prediction then says what it cost."""
    price_per_gpu_hour: float | None = Field(None, ge=0)
    packages: tuple[str, ...] = ()
    """Folders of your own Python packages that the workers need."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_can_be_counted(cls, gpus: float | None) -> float | None:
        if gpus and gpus < MIN_SHARE:
            raise ValueError(f"should be 0 or at least {MIN_SHARE:g}, got {gpus:g}")
        return gpus

    @model_validator(mode="after")
    def _fewest_workers_are_known(self) -> Self:
        if self.min_workers is None:
            return self
        if self.workers is None or self.min_workers > self.workers:
            raise ValueError(f"min_workers, got {self.min_workers}; it should be at most workers, got {self.workers}")
        if not (self.cpus_per_worker or self.gpus_per_worker):
            raise ValueError(
                f"min_workers, got {self.min_workers} without cpus_per_worker or gpus_per_worker; one of them should "
                "say how large a worker is, whatever nodes there are"
            )
        return self

    @classmethod
    def load(cls, path: str | Path | None, overrides: Sequence[str] = ()) -> Self:
        """Read a site file; None is this machine with all defaults.

        Raises:
            ConfigError: lists every problem with what set it.
        """
        layered = read_layers(path) if path is not None else Layered({}, {})
        # A database takes a password no other way; the URI is shown without it, and copied nowhere.
        layered = override(layered, overrides)
        site = validate(cls, layered, f"site {path or 'local'}", may_hold_secrets=("tracking_uri",))
        site._origins = {name: layered.origins[name] for name in layered.values}  # noqa: SLF001 - its own class
        return site

    def set_by(self, *names: str) -> str:
        """Who set some fields, as messages end; empty where nobody did."""
        origins = dict.fromkeys(self._origins[name] for name in names if name in self._origins)
        return f"  [{', '.join(origins)}]" if origins else ""

    def flat(self) -> dict[str, str | int | float | bool | None]:
        """Field -> value, for a run's tags."""
        return flatten(self)

    def storage_path(self) -> str:
        """The storage as an absolute path, or its URI.

        A relative path starts from the working folder. Where that is the copy that Ray made of an uploaded job, and
        deletes after it, it starts from the home folder instead.
        """
        if "://" in self.storage:
            return self.storage
        base = Path.home() if "working_dir" in job_environment() else Path.cwd()
        return str((base / self.storage).resolve())


def job_environment() -> dict[str, Any]:
    """The runtime environment that `ray job submit` gave this process; empty outside a job."""
    with suppress(json.JSONDecodeError):
        config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
        environment: dict[str, Any] = config.get("runtime_env") or {}
        return environment
    return {}


class Node(NamedTuple):
    """What one machine has, counted logically."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """What a cluster has; a worker lies on one of its nodes."""

    nodes: tuple[Node, ...]

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)

    def num_workers_that_fit(self, cpus: float, gpus: float) -> int:
        """How many workers of this size find a node."""
        return sum(int(min(node.cpus / cpus, node.gpus / gpus if gpus else math.inf) + 1e-9) for node in self.nodes)


@dataclass(frozen=True)
class Allocation:
    """How a cluster is shared out.

    Attributes:
        decode_cpus: for all workers together.
        decode_threads: beside each worker, part of ``decode_cpus``.
        workers_range: the fewest and the most that training goes on with as nodes go and come, each with the same; None
            where their number is fixed.
    """

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    decode_cpus: float
    decode_threads: int = 0
    workers_range: tuple[int, int] | None = None

    @property
    def most_workers(self) -> int:
        """That there may ever be."""
        return self.num_workers if self.workers_range is None else self.workers_range[1]

    @property
    def decode_cpus_per_worker(self) -> float:
        return self.decode_cpus / self.num_workers

    @property
    def beside_cpus_per_worker(self) -> float:
        """What its threads take of the decode CPUs: a thread may have less than a CPU."""
        return min(self.decode_threads, self.decode_cpus_per_worker)

    @property
    def remote_cpus_per_worker(self) -> float:
        """Decode CPUs for tasks anywhere on the cluster."""
        return self.decode_cpus_per_worker - self.beside_cpus_per_worker

    @property
    def reserved_cpus_per_worker(self) -> float:
        """What its process takes of a node: to train, and to decode beside."""
        return self.cpus_per_worker + self.beside_cpus_per_worker

    @property
    def cpus_per_decode_task(self) -> float:
        """A whole CPU, or less where a worker's share is less."""
        return min(1.0, self.remote_cpus_per_worker)

    @property
    def threads_per_worker(self) -> int:
        return max(1, int(self.cpus_per_worker))

    def describe(self) -> str:
        """One phrase, e.g. ``2 workers x (1 CPU + 1 decode thread) + 4 decode CPUs``; of a range, what is there now."""
        unit = _count(self.gpus_per_worker, "GPU") if self.gpus_per_worker else _count(self.cpus_per_worker, "CPU")
        if self.decode_threads:
            unit = f"({unit} + {_count(self.decode_threads, 'decode thread')})"
        remote = self.remote_cpus_per_worker * self.num_workers
        phrase = f"{_count(self.num_workers, 'worker')} x {unit}" + (
            f" + {_count(remote, 'decode CPU')}" if remote else ""
        )
        if self.workers_range is None:
            return phrase
        fewest, most = self.workers_range
        return f"{phrase}, elastic: {fewest} to {most} workers"


def allocate(site: Site, capacity: Capacity) -> Allocation:
    """Share a cluster between training and decoding.

    Ray waits without end for CPUs that will never be free, so this is checked before anything starts. Where the site
    gives a range of workers, it is as many of them as fit; of the site's decode CPUs they get their part.

    Raises:
        ResourceError: the cluster cannot hold it, or not even the fewest workers; gives the numbers.
    """
    if site.min_workers is None or site.workers is None:
        return _allocate(site, capacity)
    for num_workers in range(site.workers, site.min_workers - 1, -1):
        decode_cpus = None if site.decode_cpus is None else site.decode_cpus * num_workers / site.workers
        fewer = site.model_copy(update={"workers": num_workers, "decode_cpus": decode_cpus})
        try:
            return replace(_allocate(fewer, capacity), workers_range=(site.min_workers, site.workers))
        except ResourceError as refused:
            error = refused
    raise ResourceError(f"site.min_workers, got {site.min_workers}: {error}{site.set_by('min_workers')}") from error


def _allocate(site: Site, capacity: Capacity) -> Allocation:
    """Share a cluster between as many workers as the site gives, or as there are GPUs, and their decoding.

    Raises:
        ResourceError: the cluster cannot hold it.
    """
    gpus_per_worker = site.gpus_per_worker if site.gpus_per_worker is not None else float(capacity.gpus >= 1)
    num_workers = site.workers or (max(1, int(capacity.gpus // gpus_per_worker)) if gpus_per_worker else 1)
    cpus_per_worker = site.cpus_per_worker or _default_cpus(site, capacity, num_workers, on_gpu=gpus_per_worker > 0)
    gpus, training = num_workers * gpus_per_worker, num_workers * cpus_per_worker
    workers = _count(num_workers, "worker")
    if gpus > capacity.gpus:
        raise ResourceError(
            f"site: {workers} x {_count(gpus_per_worker, 'GPU')} = {_count(gpus, 'GPU')}, the cluster has "
            f"{capacity.gpus:g}; lower site.workers or site.gpus_per_worker{site.set_by('workers', 'gpus_per_worker')}"
        )
    fitting = capacity.num_workers_that_fit(cpus_per_worker, gpus_per_worker)
    if training <= capacity.cpus and num_workers > fitting:
        size = " and ".join(_count(n, unit) for n, unit in ((cpus_per_worker, "CPU"), (gpus_per_worker, "GPU")) if n)
        raise ResourceError(
            f"site: {workers} x {size}, the cluster's {_count(len(capacity.nodes), 'node')} have room for {fitting}; "
            "a worker lies on one node: lower site.workers, site.cpus_per_worker or site.gpus_per_worker"
            f"{site.set_by('workers', 'cpus_per_worker', 'gpus_per_worker')}"
        )
    rest = capacity.cpus - training
    decode = rest if site.decode_cpus is None else site.decode_cpus
    if decode > rest or (site.decode_cpus is None and decode < MIN_DECODE_CPUS):
        wanted = f"{decode:g}" if site.decode_cpus is not None else f"at least {MIN_DECODE_CPUS:g}"
        raise ResourceError(
            f"site: {workers} x {_count(cpus_per_worker, 'CPU')} = {_count(training, 'CPU')} to train and {wanted} to "
            f"decode do not fit the cluster's {_count(capacity.cpus, 'CPU')}; lower site.workers, "
            "site.cpus_per_worker or site.decode_cpus, or add nodes"
            f"{site.set_by('local_cpus', 'workers', 'cpus_per_worker', 'decode_cpus')}"
        )
    allocation = Allocation(num_workers, cpus_per_worker, gpus_per_worker, decode)
    return replace(allocation, decode_threads=_decode_threads(site, capacity, allocation))


def _decode_threads(site: Site, capacity: Capacity, allocation: Allocation) -> int:
    """Threads beside each worker: what the site says, else as many as it has decode CPUs if these are few and near.

    Raises:
        ResourceError: there are fewer decode CPUs than the site wants threads, or they lie elsewhere.
    """
    share = math.ceil(allocation.decode_cpus_per_worker)
    threads = site.decode_threads if site.decode_threads is not None else share
    beside = replace(allocation, decode_threads=threads)
    fitting = capacity.num_workers_that_fit(beside.reserved_cpus_per_worker, allocation.gpus_per_worker)
    if site.decode_threads is None:
        return threads if threads <= MAX_DERIVED_THREADS and fitting >= allocation.num_workers else 0
    asked = f"site.decode_threads: {threads} beside each of {_count(allocation.num_workers, 'worker')}"
    if threads > share:
        raise ResourceError(
            f"{asked}, {_count(allocation.decode_cpus, 'CPU')} decode for all; lower it or raise site.decode_cpus"
            f"{site.set_by('decode_threads', 'workers', 'decode_cpus')}"
        )
    if fitting < allocation.num_workers:
        raise ResourceError(
            f"{asked}, the cluster's nodes have room for {fitting} such workers; lower it"
            f"{site.set_by('decode_threads', 'workers', 'cpus_per_worker')}"
        )
    return threads


def _default_cpus(site: Site, capacity: Capacity, num_workers: int, *, on_gpu: bool) -> float:
    """CPUs of one worker: one where a GPU does the work, else its share of those for training."""
    if on_gpu:
        return min(1.0, capacity.cpus / 2 / num_workers)
    decode = site.decode_cpus if site.decode_cpus and site.decode_cpus < capacity.cpus else capacity.cpus / 2
    share = min((capacity.cpus - decode) / num_workers, max(node.cpus for node in capacity.nodes))
    return float(int(share)) if share >= 1 else share


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'s' * (number > 1)}"
