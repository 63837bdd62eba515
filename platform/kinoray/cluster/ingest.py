"""The batches of a worker: its share of the plan, decoded beside it, anywhere on the cluster, or both.

Every worker streams its own share of the plan. The order needs no agreement between workers, no row is dropped to make
shares equal, and a worker's pipeline holds only its part of the cluster's decode CPUs and of the object store. Who
decodes a batch is settled before the epoch, and changes nothing in it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from threading import Thread

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinoray.cluster.remote import DecodeBudget, decoded_remotely
from kinoray.data.config import Dataset
from kinoray.data.plan import (
    epoch_plan,
    evaluation_plan,
    evaluation_share,
    num_steps,
    part_of_batch,
    training_share,
)
from kinoray.data.reading import ClipReader, RowReader
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.beside import decoded_beside
from kinoray.train.world import World

BATCHES_LEFT_AT_NEXT = 3
"""When a stream has this many batches left, nearly all are decoded, and the next may begin."""


class RayFeed:
    """The feed of ``train.loop.fit`` for one worker.

    Starting a pipeline takes about a second, in which nothing would be trained; so the stream that is due next is
    started while the last batches of the present one are still in use.

    Args:
        recipe: its data part says what is read.
        dataset: the manifests.
        world: this worker.
        budget: what decodes for it.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, world: World, budget: DecodeBudget) -> None:
        self.dataset = dataset
        self.steps_per_epoch = num_steps(dataset.train.num_videos, recipe.data.train.batch_size)
        self.step = 0
        """That the last training batch was for, counted from 1."""
        self._recipe, self._world, self._budget = recipe, world, budget
        self._next: tuple[tuple[str, int], Stream] | None = None

    def train(self, epoch: int, *, done: int = 0) -> Iterator[Batch]:
        is_due = self._recipe.evaluation.is_due(epoch, self._recipe.training.epochs)
        is_measured = is_due and self._recipe.training.precise_batch_norm is not None
        following = ("first", epoch) if is_measured else self._after_training(epoch, is_due=is_due)
        stream = self._taken(("train", epoch), done=done)
        first = 1 + epoch * self.steps_per_epoch + done // self._recipe.data.train.batch_size
        return self._counted(stream.batches(then=lambda: self._start(following)), first)

    def first_batches(self, epoch: int) -> Iterator[Batch]:
        following = self._after_training(epoch, is_due=True)
        return self._taken(("first", epoch)).batches(then=lambda: self._start(following))

    def val(self, epoch: int) -> Iterator[Batch]:
        return self._taken(("val", epoch)).batches(then=lambda: self._start(("train", epoch + 1)))

    def _counted(self, batches: Iterable[Batch], first: int) -> Iterator[Batch]:
        for self.step, batch in enumerate(batches, first):
            yield batch

    def _opened(self, key: tuple[str, int]) -> "Stream":
        what, epoch = key
        if what == "val":
            return self._val_stream()
        return self._train_stream(
            epoch, num_batches=self._recipe.training.precise_batch_norm if what == "first" else None
        )

    def _after_training(self, epoch: int, *, is_due: bool) -> tuple[str, int]:
        return ("val", epoch) if self.dataset.val is not None and is_due else ("train", epoch + 1)

    def _start(self, key: tuple[str, int]) -> None:
        if key[1] < self._recipe.training.epochs:
            self._next = key, self._opened(key)
            self._next[1].start()

    def _taken(self, key: tuple[str, int], *, done: int = 0) -> "Stream":
        """The stream that was started ahead if it is the one that is asked for."""
        ahead, self._next = self._next, None
        if done:
            return self._train_stream(key[1], done=done)
        return ahead[1] if ahead is not None and ahead[0] == key else self._opened(key)

    def _train_stream(self, epoch: int, *, num_batches: int | None = None, done: int = 0) -> "Stream":
        """So many batches of an epoch, None is all that are not done."""
        split, rank, size = self._recipe.data.train, self._world.rank, self._world.size
        plan = epoch_plan(self.dataset.train.table, seed=self._recipe.seed, epoch=epoch)
        share = training_share(plan, batch_size=split.batch_size, rank=rank, world_size=size, done=done)
        batch_size = len(part_of_batch(split.batch_size, rank=rank, world_size=size))
        rows = share if num_batches is None else share.slice(0, num_batches * batch_size)
        reader = ClipReader(split, self.dataset.flip_labels, reader=self._recipe.data.reader)
        return decoded(rows, reader, batch_size, self._budget, self._world)

    def _val_stream(self) -> "Stream":
        assert self.dataset.val is not None
        return evaluation_stream(self._recipe, "val", self.dataset.val.table, self._world, self._budget)


class Stream:
    """Batches of one or two sources.

    Args:
        turns: for each batch the source that it comes from.
    """

    def __init__(self, turns: Sequence[Iterator[Batch]]) -> None:
        self._turns, self._sources = turns, tuple(dict.fromkeys(turns))
        self._first: dict[Iterator[Batch], Future[Batch]] = {}
        self._is_started = False

    def start(self) -> None:
        """Begin to decode, without waiting for it."""
        self._is_started = True
        for source in self._sources:
            self._first[source] = first = Future[Batch]()
            Thread(target=_fetch, args=(source, first), name="kinoray-next-stream", daemon=True).start()

    def batches(self, *, then: Callable[[], None] = lambda: None) -> Iterator[Batch]:
        """All batches; ``then`` is called when those that are left are decoded, or nearly."""
        if not self._is_started:
            self.start()
        for index, source in enumerate(self._turns):
            if index == max(0, len(self._turns) - BATCHES_LEFT_AT_NEXT):
                then()
            first = self._first.pop(source, None)
            yield next(source) if first is None else first.result()
        for source in self._sources:
            next(source, None)  # lets it clear up


def beside_turns(num_batches: int, share: float) -> NDArray[np.bool_]:
    """Which batches are decoded beside the worker: evenly spread, the first one too."""
    turns: NDArray[np.bool_] = np.diff(np.ceil(np.arange(num_batches + 1) * share)) > 0
    return turns


def evaluation_stream(
    recipe: Recipe, split_name: str, manifest: pa.Table, world: World, budget: DecodeBudget
) -> Stream:
    """One worker's batches of an evaluation split; all workers' together hold every row once."""
    split = recipe.data.evaluation_split(split_name)
    share = evaluation_share(
        evaluation_plan(manifest), batch_size=split.batch_size, rank=world.rank, world_size=world.size
    )
    return decoded(share, ClipReader(split, reader=recipe.data.reader), split.batch_size, budget, world)


def decoded(rows: pa.Table, reader: RowReader, batch_size: int, budget: DecodeBudget, world: World) -> Stream:
    """Rows of ``PLAN_SCHEMA`` as batches in their order, the last may be smaller; nothing is decoded yet."""
    is_beside = beside_turns(math.ceil(rows.num_rows / batch_size), budget.beside_share)
    row_is_beside = np.repeat(is_beside, batch_size)[: rows.num_rows]
    mine, theirs = rows.filter(pa.array(row_is_beside)), rows.filter(pa.array(~row_is_beside))
    beside = decoded_beside(mine, reader, batch_size, budget.threads, pinned=world.device.type == "cuda")
    remote = decoded_remotely(theirs, reader, batch_size, budget)
    return Stream([beside if is_mine else remote for is_mine in is_beside])


def _fetch(source: Iterator[Batch], first: Future[Batch]) -> None:
    try:
        first.set_result(next(source))
    except BaseException as error:  # noqa: BLE001 - raised where the batch is asked for
        first.set_exception(error)
