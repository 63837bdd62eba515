"""Preparing videos on all CPUs of a cluster: many small tasks, whose results are kept as they come."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import ray
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError, TaskUnschedulableError

from kinoray.data.prepare import FACTS_SCHEMA, Facts, failed, shard_groups
from kinoray.data.prepared import Prepared, Record
from kinoray.errors import KinorayError, ResourceError

LOOKS_PER_TASK, ENCODINGS_PER_TASK = 32, 8
"""Starting a task costs as much as looking into a few videos; many videos a task make progress coarse."""
TASKS_PER_CPU = 4
SAVE_SECONDS = 30
"""Work that a killed run may lose."""
CRASHED = "the process that worked on it died, perhaps for want of memory"

Task = list[Facts]
Work = Callable[[Sequence[Facts]], list[Facts]]


@dataclass(frozen=True)
class Stage:
    """How far a run is.

    Attributes:
        name: what is done to the videos.
        num_videos: that this run has to do.
        num_done: of them.
        num_bad: of those done.
    """

    name: str
    num_videos: int
    num_done: int = 0
    num_bad: int = 0


Listener = Callable[[Stage], None]


def prepare(record: Record, *, num_cpus: float, listener: Listener) -> Prepared:
    """Do to all listed videos what an earlier run has not done, and write the manifest.

    Args:
        record: of the videos, with what is to be done to them.
        num_cpus: of the cluster, to use at a time.
        listener: told of every stage that begins, and of every task that ends.

    Raises:
        DataError: not one video can be read.
        ResourceError: the output folder cannot be written.
    """
    try:
        _do_all(record, num_cpus, listener)
        return record.finish()
    except KinorayError as error:
        error.at_work = True
        raise


def _do_all(record: Record, num_cpus: float, listener: Listener) -> None:
    preparation = record.preparation
    name, most = ("encoding", ENCODINGS_PER_TASK) if preparation.encoding else ("looking", LOOKS_PER_TASK)
    per_task = max(1, min(most, int(len(record.missing) / num_cpus / TASKS_PER_CPU)))
    rows = [{**dict.fromkeys(FACTS_SCHEMA.names), "source_path": path} for path in record.missing]
    tasks = [rows[start : start + per_task] for start in range(0, len(rows), per_task)]
    try:
        _run(record, tasks, preparation.each, stage=Stage(name, len(rows)), num_cpus=num_cpus, listener=listener)
        if preparation.in_shards:
            rows = record.to_pack()
            stage, tasks = Stage("packing", len(rows)), shard_groups(rows)
            _run(record, tasks, preparation.shard, stage=stage, num_cpus=num_cpus, listener=listener)
    finally:
        record.save()


def _run(record: Record, tasks: list[Task], work: Work, *, stage: Stage, num_cpus: float, listener: Listener) -> None:
    if not tasks:
        return
    listener(stage)
    saved_at = time.monotonic()
    for rows in _done(tasks, work, num_cpus):
        record.add(rows)
        stage = replace(
            stage,
            num_done=stage.num_done + len(rows),
            num_bad=stage.num_bad + sum(bool(row["error"]) for row in rows),
        )
        listener(stage)
        if time.monotonic() - saved_at > SAVE_SECONDS:
            record.save()
            saved_at = time.monotonic()


def _done(tasks: list[Task], work: Work, num_cpus: float) -> Iterator[list[Facts]]:
    """Results of tasks as they end. What a crash took with it is tried once more, each video by itself."""
    lost: list[Facts] = []
    for task, rows in _on_cluster(tasks, work, num_cpus):
        if rows is None:
            lost += task
        else:
            yield rows
    for (row,), rows in _on_cluster([[row] for row in lost], work, num_cpus):
        yield [failed(row["source_path"], CRASHED)] if rows is None else rows


def _on_cluster(tasks: list[Task], work: Work, num_cpus: float) -> Iterator[tuple[Task, list[Facts] | None]]:
    """Tasks and their results as they end; None where the process died.

    Plain tasks: Ray Data would start one that kills its process again without end.

    Raises:
        ResourceError: the cluster cannot start a task at all.
    """

    def work_on(task: Task) -> list[Facts]:
        return work(task)

    remote = ray.remote(num_cpus=min(1, num_cpus), max_retries=0)(work_on)
    waiting = iter(tasks)
    running: dict[ray.ObjectRef, Task] = {}
    while True:
        for task in islice(waiting, max(1, int(num_cpus)) - len(running)):
            running[remote.remote(task)] = task
        if not running:
            return
        ended, _ = ray.wait(list(running), num_returns=1)
        task = running.pop(ended[0])
        try:
            rows: list[Facts] | None = ray.get(ended[0])
        except RayTaskError as error:
            raise error.cause from None
        except (RuntimeEnvSetupError, TaskUnschedulableError) as error:
            told = " ".join(str(error).split())
            raise ResourceError(f"cluster: a task of {len(task)} videos cannot be started: {told}") from error
        except RayError:
            rows = None
        yield task, rows
