"""Decoding anywhere on the cluster: Ray Data tasks, as many as a worker has CPUs, and no more than the store holds."""

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, ExecutionOptions
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)
from ray.data._internal.execution.interfaces import PhysicalOperator
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from kinoray.cluster.blocks import BlockReader, packed_column
from kinoray.data.reading import RowReader
from kinoray.errors import ResourceError
from kinoray.site import Allocation
from kinoray.train.batch import Batch
from kinoray.train.packed import PackedClips

OBJECT_STORE_SHARE = 0.4
"""Of the cluster's object store, for clips under way to all workers together."""
MAX_TASK_BYTES = 2**27
"""Of clips; Ray Data would cut a larger block in pieces."""
MAX_TASK_ROWS = 32
BLOCKS_PER_TASK = 4
"""Under way for each task that may run: one being decoded, others that wait for their turn or are in use."""
ROUNDS = 4
"""Of tasks, at least, where there are rows enough: else some CPUs would have nothing to do near the end."""
MAX_RETRIES = 3
"""Of a task whose process or node died. Ray Data's own have no end: a video that kills its reader would hang a run."""
PREFETCHED_BATCHES = 2
FULL_SECONDS = 0.02
LIMITS_KEY = "kinoray.limits"


@dataclass(frozen=True)
class DecodeBudget:
    """What decodes for one worker.

    Attributes:
        threads: beside it, in its process.
        beside_share: of its batches, 0..1, that the threads decode.
        cpus: for tasks anywhere.
        cpus_per_task: of these.
        object_store_bytes: for clips on their way from such tasks.
    """

    threads: int = 0
    beside_share: float = 0.0
    cpus: float = 0.0
    cpus_per_task: float = 1.0
    object_store_bytes: int = 2**28

    @classmethod
    def of(cls, allocation: Allocation) -> "DecodeBudget":
        """One worker's share; asks the connected cluster for its object store."""
        store = ray.cluster_resources().get("object_store_memory", 2**30)
        return cls(
            threads=allocation.decode_threads,
            beside_share=allocation.beside_cpus_per_worker / allocation.decode_cpus_per_worker,
            cpus=allocation.remote_cpus_per_worker,
            cpus_per_task=allocation.cpus_per_decode_task,
            object_store_bytes=int(store * OBJECT_STORE_SHARE / allocation.num_workers),
        )

    @property
    def num_tasks(self) -> int:
        """Tasks that may run at a time."""
        return max(1, int(self.cpus / self.cpus_per_task + 1e-9))


@dataclass(frozen=True)
class Limits:
    """Of one pipeline; ``task_bytes`` is the size of a task's clips."""

    num_tasks: int
    task_bytes: int
    object_store_bytes: int


class BlocksUnderWay(BackpressurePolicy):  # type: ignore[misc]
    """Starts a task where its clips will fit the store, and takes what is decoded at once.

    In place of Ray Data's own policies, because these (measured) divide each node's CPUs by the number of running
    pipelines and round down, so that 4 workers on 4 nodes of 2 CPUs decode on 4; and while the worker is busy leave
    decoded blocks with their tasks, asking for them 1,400 times a second: 2/3 of a CPU, in the worker's process. Where
    nothing runs and the worker waits, Ray Data starts a task without asking.
    """

    def can_add_input(self, op: PhysicalOperator) -> bool:
        limits: Limits = self._data_context.get_config(LIMITS_KEY)
        num_active = int(op.num_active_tasks())
        under_way = int(op.estimate_object_store_usage()) + (num_active + 1) * limits.task_bytes
        fits = num_active < limits.num_tasks and under_way <= limits.object_store_bytes
        if not fits and not num_active:
            time.sleep(FULL_SECONDS)  # Ray Data's loop waits for tasks only; where none runs it would ask at once again
        return fits


def decoded_remotely(rows: pa.Table, reader: RowReader, batch_size: int, budget: DecodeBudget) -> Iterator[Batch]:
    """Batches in the order of the rows; the last may be smaller.

    Args:
        rows: of ``PLAN_SCHEMA``.
        reader: makes a clip of a row.
        batch_size: videos of a batch.
        budget: what it may use of the cluster.

    Raises:
        ResourceError: the processes that decode some of the rows die again and again.
    """
    if rows.num_rows == 0:
        return
    clip_bytes = math.prod(reader.view.clip_shape())
    per_task = rows_per_task(rows.num_rows, batch_size, clip_bytes, budget)
    _set_context(_limits(per_task * clip_bytes, batch_size * clip_bytes, budget))
    blocks = [rows.slice(start, per_task).combine_chunks() for start in range(0, rows.num_rows, per_task)]
    clips = ray.data.from_blocks(blocks).map_batches(
        BlockReader(reader),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=budget.cpus_per_task,
        max_retries=MAX_RETRIES,
    )
    prefetched = max(1, min(PREFETCHED_BATCHES, MAX_TASK_BYTES * PREFETCHED_BATCHES // (batch_size * clip_bytes)))
    # As Arrow, packed rows come uncopied; so do other clips as arrays.
    layout = "pyarrow" if len(reader.view.clip_shape()) == 1 else "numpy"
    try:
        for taken in clips.iter_batches(batch_size=batch_size, batch_format=layout, prefetch_batches=prefetched):
            yield Batch.from_columns(taken if layout == "numpy" else _packed_columns(taken), reader.view)
    except (WorkerCrashedError, OutOfMemoryError) as crash:
        error = ResourceError(
            f"decoding: {1 + MAX_RETRIES} processes died one after the other of the same videos; memory is short, or "
            "one of the videos kills its reader: jobs/prepare.py finds it and names it"
        )
        error.at_work = True
        raise error from crash


def _packed_columns(table: pa.Table) -> dict[str, Any]:
    """What ``Batch.from_columns`` takes."""
    data, starts = packed_column(table)
    others = {name: table[name].to_numpy() for name in table.column_names if name != "clip"}
    return {**others, "clip": PackedClips(data, tuple(starts.tolist()))}


def rows_per_task(num_rows: int, batch_size: int, clip_bytes: int, budget: DecodeBudget) -> int:
    """How many rows one task decodes.

    A task and its block cost about 24 ms of CPU time however few clips they hold, so many; but all blocks under way
    have to fit the store, and all CPUs should have work. Whole batches where that is possible: a batch that lies in one
    block is not copied.
    """
    most_bytes = min(MAX_TASK_BYTES, budget.object_store_bytes // (BLOCKS_PER_TASK * budget.num_tasks))
    fair = math.ceil(num_rows / (ROUNDS * budget.num_tasks))
    wanted = max(1, min(most_bytes // clip_bytes, max(MAX_TASK_ROWS, batch_size), max(fair, batch_size)))
    return wanted // batch_size * batch_size or wanted


def _limits(task_bytes: int, batch_bytes: int, budget: DecodeBudget) -> Limits:
    """What is useful of the budget, no more: memory that was never used before is slow (2 to 3 ms for 5 MB)."""
    useful = BLOCKS_PER_TASK * budget.num_tasks * task_bytes + PREFETCHED_BATCHES * batch_bytes
    return Limits(budget.num_tasks, task_bytes, min(useful, budget.object_store_bytes))


def _set_context(limits: Limits) -> None:
    """For pipelines that this process starts from now on."""
    # Ray 2.64 takes the present way of bounding retries away; the pin on Ray is there to look what comes instead.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", DeprecationWarning)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options = ExecutionOptions(preserve_order=True)
    context.op_resource_reservation_enabled = False
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [BlocksUnderWay])
    context.set_config(LIMITS_KEY, limits)
