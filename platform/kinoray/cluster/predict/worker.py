"""One worker of a prediction: takes shards, streams their videos through the model, writes each shard as a whole."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import ray
import torch
from pyarrow import parquet
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from kinoray.cluster.ingest import Stream, decoded
from kinoray.cluster.predict.desk import Task
from kinoray.cluster.predict.watch import WAITS_SECONDS, WatchedReader, wait
from kinoray.cluster.remote import DecodeBudget
from kinoray.data.output import OutputFolder
from kinoray.data.reading import ClipReader
from kinoray.errors import DecodeError, ResourceError
from kinoray.predict.conclusion import shard_name
from kinoray.predict.listing import Listing
from kinoray.predict.reading import outcomes, plan_of
from kinoray.predict.request import Request
from kinoray.predict.scoring import Scorer
from kinoray.predict.table import Outcome, Written, counts_of, joined
from kinoray.predict.windows import VideoAccess, window_outcomes
from kinoray.train.world import World

IDLE_SECONDS = 0.2
NUM_OTHERS = 16
"""Of a shard's videos, to be asked for where a store does not give one."""
ROWS_AT_A_TIME = 1024
"""As Python's objects; the rest of a shard's rows, which may be many windows, wait as a table."""
_T = TypeVar("_T")
_Started: TypeAlias = tuple[Task, pa.Table, Stream | None] | None


@dataclass(frozen=True)
class Assignment:
    """What all workers of a run are told.

    Attributes:
        request: what every video goes through.
        listing: the videos.
        output: where shards go.
        written: what is in them.
    """

    request: Request
    listing: Listing
    output: OutputFolder
    written: Written


class Predictor:
    """Lives as a Ray actor for as long as there are shards, or until it dies.

    Args:
        name: of this worker, no other's.
        assignment: what to do.
        desk: the actor that gives out shards.
        budget: what decodes for it.
        num_threads: of torch.
    """

    def __init__(self, name: str, assignment: Assignment, desk: Any, budget: DecodeBudget, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._name, self._desk = name, desk
        self._assignment, self._budget = assignment, budget
        request = assignment.request
        recognizer = request.open_model("cuda" if ray.get_gpu_ids() else "cpu")
        self._world = World(device=recognizer.device)
        self._scorer = Scorer(
            recognizer,
            precision=request.precision,
            compiled=request.compiled,
            with_embeddings=assignment.written.with_embeddings,
        )

    def run(self) -> None:
        """Score shards until there are none.

        The next shard's videos are being read when the last batches of one are scored.
        """
        started = self._start_next()
        while started is not None or not ray.get(self._desk.is_done.remote()):
            if started is None:  # another worker may yet lose what it holds
                time.sleep(IDLE_SECONDS)
                started = self._start_next()
                continue
            task, listing, stream = started
            following: list[_Started] = []
            try:
                table = self._score(task, listing, stream, lambda: following.append(self._start_next()))  # noqa: B023 - used at once
            except ResourceError as error:
                self._again_or_raise(task, error)
            else:
                self._write(task, table)
            started = following[0] if following else self._start_next()

    def _start_next(self) -> _Started:
        task: Task | None = ray.get(self._desk.take.remote(self._name))
        while task is not None and task.attempt > 1 and self._was_written(task.shard):
            task = ray.get(self._desk.take.remote(self._name))
        if task is None:
            return None
        assignment = self._assignment
        listing = _with_retries(lambda: assignment.listing.shard(assignment.output, task.shard))
        if assignment.request.window is not None:
            return task, listing, None
        # A careful worker reads beside, one video at a time: what dies is this process, of that video.
        budget = DecodeBudget(threads=1, beside_share=1.0) if task.is_careful else self._budget
        reader = self._reader(task, listing)
        stream = decoded(plan_of(listing), reader, assignment.request.batch_size, budget, self._world)
        if not task.is_careful:
            stream.start()
        return task, listing, stream

    def _again_or_raise(self, task: Task, error: ResourceError) -> None:
        """Give a shard back where what decoded it died: another attempt finds out which video is to blame."""
        if not isinstance(error.__cause__, WorkerCrashedError | OutOfMemoryError):
            raise error
        if ray.get(self._desk.failed.remote(self._name, task.shard)):
            raise error

    def _was_written(self, shard: int) -> bool:
        """Whether the worker that died wrote a shard, and told nobody any more; the desk is told now."""
        file = _with_retries(lambda: self._assignment.output.open(shard_name(shard)))
        if file is None:
            return False
        with file:
            ray.get(self._desk.wrote.remote(self._name, shard, counts_of(parquet.read_schema(file))))
        return True

    def _score(self, task: Task, listing: pa.Table, stream: Stream | None, then: Callable[[], None]) -> pa.Table:
        request = self._assignment.request
        if stream is not None:
            scored = outcomes(listing, stream.batches(then=then), self._scorer, num_clips=request.num_clips)
        else:
            assert request.window is not None
            reader = self._reader(task, listing)
            scored = window_outcomes(
                listing,
                request.view,
                request.window,
                VideoAccess(reader.open, reader.guard),
                self._scorer,
                batch_size=request.batch_size,
                num_clips=request.num_clips,
                num_threads=1 if task.is_careful else max(1, self._budget.threads),
            )
        written, rows = self._assignment.written, list[Outcome]()
        tables: list[pa.Table] = []
        for some, tally in scored:
            rows += [replace(row, attempt=task.attempt) for row in some]
            self._desk.note.remote(tally)
            if len(rows) >= ROWS_AT_A_TIME:
                tables.append(written.table(rows))
                rows.clear()
        table = joined([*tables, written.table(rows)])
        assert set(pc.unique(table["video_id"]).to_pylist()) == set(listing["video_id"].to_pylist())
        return table

    def _write(self, task: Task, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, compression="zstd")
        _with_retries(lambda: self._assignment.output.write(shard_name(task.shard), sink.getvalue().to_pybytes()))
        ray.get(self._desk.wrote.remote(self._name, task.shard, counts_of(table.schema)))

    def _reader(self, task: Task, listing: pa.Table) -> WatchedReader:
        request = self._assignment.request
        reader = ClipReader(request.view, limits=request.limits, reader=request.backend, with_facts=True)
        others = listing["uri"].to_pylist()[:: max(1, listing.num_rows // NUM_OTHERS)]
        return WatchedReader(
            reader, task.shard, self._desk, task.is_careful, seconds=request.limits.seconds, others=tuple(others)
        )


def _with_retries(call: Callable[[], _T]) -> _T:
    """Ask the store of the output again where it is away for a moment."""
    for seconds in WAITS_SECONDS:
        try:
            return call()
        except (ResourceError, DecodeError):
            wait(seconds)
    return call()
