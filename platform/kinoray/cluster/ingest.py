"""Ray Data between the manifest and a worker: rows are decoded anywhere on the cluster and arrive in the plan's order.

Every worker streams its own share of the plan. The order needs no agreement between workers, no row is dropped to make
shares equal, and a worker's executor holds only its part of the cluster's decode CPUs and of the object store.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, ExecutionOptions, ExecutionResources

from kinoray.data.config import Dataset
from kinoray.data.plan import epoch_plan, evaluation_plan, evaluation_share, num_steps, training_share
from kinoray.data.reading import ClipReader
from kinoray.recipe import Recipe
from kinoray.site import Allocation
from kinoray.train.batch import Batch
from kinoray.train.world import World

MIN_ROWS_PER_TASK = 8
"""Fewer and the start of a task weighs as much as its decoding (13.8 against 18.4 clips/s, measured)."""
OBJECT_STORE_SHARE = 0.4
"""Of the cluster's object store, for clips under way to all workers together."""
PREFETCHED_BATCHES = 2


@dataclass(frozen=True)
class DecodeBudget:
    """What one worker's pipeline may use of the cluster."""

    cpus: float
    cpus_per_task: float
    object_store_bytes: int

    @classmethod
    def of(cls, allocation: Allocation) -> "DecodeBudget":
        """One worker's share; asks the connected cluster for its object store."""
        store = ray.cluster_resources().get("object_store_memory", 2**30)
        share = int(store * OBJECT_STORE_SHARE / allocation.num_workers)
        return cls(allocation.decode_cpus_per_worker, allocation.cpus_per_decode_task, share)


class RayFeed:
    """The feed of ``train.loop.fit`` for one worker.

    Starting a pipeline takes about a second, in which nothing would be trained; so the stream that is due next is
    started while the last batches of the present one are still in use.

    Args:
        recipe: its data part says what is read.
        dataset: the manifests.
        world: this worker.
        budget: what its pipeline may use.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, world: World, budget: DecodeBudget) -> None:
        self.dataset = dataset
        self.steps_per_epoch = num_steps(dataset.train.num_videos, recipe.data.train.batch_size)
        self._recipe, self._world, self._budget = recipe, world, budget
        self._next: tuple[tuple[str, int], Stream] | None = None

    def train(self, epoch: int) -> Iterator[Batch]:
        is_due = self._recipe.evaluation.is_due(epoch, self._recipe.training.epochs)
        following = ("val", epoch) if self.dataset.val is not None and is_due else ("train", epoch + 1)
        return self._taken(("train", epoch)).batches(then=lambda: self._start(following))

    def val(self, epoch: int) -> Iterator[Batch]:
        return self._taken(("val", epoch)).batches(then=lambda: self._start(("train", epoch + 1)))

    def _opened(self, key: tuple[str, int]) -> "Stream":
        split, epoch = key
        return self._val_stream() if split == "val" else self._train_stream(epoch)

    def _start(self, key: tuple[str, int]) -> None:
        if key[1] < self._recipe.training.epochs:
            self._next = key, self._opened(key)
            self._next[1].start()

    def _taken(self, key: tuple[str, int]) -> "Stream":
        """The stream that was started ahead if it is the one that is asked for."""
        ahead, self._next = self._next, None
        return ahead[1] if ahead is not None and ahead[0] == key else self._opened(key)

    def _train_stream(self, epoch: int) -> "Stream":
        split = self._recipe.data.train
        plan = epoch_plan(self.dataset.train.table, seed=self._recipe.seed, epoch=epoch)
        share = training_share(plan, batch_size=split.batch_size, rank=self._world.rank, world_size=self._world.size)
        reader = ClipReader(split, self.dataset.flip_labels)
        return Stream(share, reader, split.batch_size // self._world.size, self._budget)

    def _val_stream(self) -> "Stream":
        assert self.dataset.val is not None
        return evaluation_stream(self._recipe, "val", self.dataset.val.table, self._world, self._budget)


class Stream:
    """Rows decoded on the cluster; batches come in the order of the rows, the last may be smaller.

    Args:
        rows: of ``PLAN_SCHEMA``.
        reader: makes a clip of a row.
        batch_size: videos of a batch.
        budget: what it may use of the cluster.
    """

    def __init__(self, rows: pa.Table, reader: ClipReader, batch_size: int, budget: DecodeBudget) -> None:
        self._num_batches = math.ceil(rows.num_rows / batch_size)
        self._batches = _decoded(rows, reader, batch_size, budget)
        self._first: Future[Batch | None] | None = None

    def start(self) -> None:
        """Begin to decode, without waiting for it."""
        if self._first is None:
            self._first = Future()
            Thread(target=self._fetch_first, args=(self._first,), name="kinoray-next-stream", daemon=True).start()

    def batches(self, *, then: Callable[[], None] = lambda: None) -> Iterator[Batch]:
        """All batches; ``then`` is called when those that are left are decoded, or nearly."""
        self.start()
        assert self._first is not None
        batch = self._first.result()
        for index in range(self._num_batches):
            if index == max(0, self._num_batches - 1 - PREFETCHED_BATCHES):
                then()
            assert batch is not None
            yield batch
            batch = next(self._batches, None)

    def _fetch_first(self, first: "Future[Batch | None]") -> None:
        try:
            first.set_result(next(self._batches, None))
        except BaseException as error:  # noqa: BLE001 - raised where the batch is asked for
            first.set_exception(error)


def evaluation_stream(
    recipe: Recipe, split_name: str, manifest: pa.Table, world: World, budget: DecodeBudget
) -> Stream:
    """One worker's batches of an evaluation split; all workers' together hold every row once."""
    split = recipe.data.evaluation_split(split_name)
    share = evaluation_share(
        evaluation_plan(manifest), batch_size=split.batch_size, rank=world.rank, world_size=world.size
    )
    return Stream(share, ClipReader(split), split.batch_size, budget)


def _decoded(rows: pa.Table, reader: ClipReader, batch_size: int, budget: DecodeBudget) -> Iterator[Batch]:
    if rows.num_rows == 0:
        return
    _bound(budget)
    per_task = max(batch_size, MIN_ROWS_PER_TASK)
    blocks = [rows.slice(start, per_task).combine_chunks() for start in range(0, rows.num_rows, per_task)]
    clips = ray.data.from_blocks(blocks).map(reader, num_cpus=budget.cpus_per_task)
    for columns in clips.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=PREFETCHED_BATCHES):
        yield Batch.from_columns(columns)


def _bound(budget: DecodeBudget) -> None:
    """Limits of pipelines that this process starts from now on."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    options = ExecutionOptions(
        preserve_order=True,
        resource_limits=ExecutionResources(cpu=budget.cpus, object_store_memory=budget.object_store_bytes),
    )
    context.execution_options = options
