"""Decoding beside the model: threads of the worker's own process, which write clips where the batch will be read.

PyAV works outside the interpreter's lock, so a thread decodes as fast as a process does, and nothing is copied or sent.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kinoray.data.columns import columns_of
from kinoray.data.reading import RowReader
from kinoray.data.rows import ReadRow
from kinoray.train.batch import Batch

MAX_BYTES_AHEAD = 2**29
"""Of batches that are decoded ahead; one is always."""
ROWS_AHEAD_PER_THREAD = 2


def decoded_beside(
    rows: pa.Table, reader: RowReader, batch_size: int, num_threads: int, *, pinned: bool
) -> Iterator[Batch]:
    """Batches in the order of the rows; the last may be smaller.

    Args:
        rows: of ``PLAN_SCHEMA``.
        reader: makes a clip of a row.
        batch_size: videos of a batch.
        num_threads: that decode.
        pinned: whether clips lie in page-locked memory, from where a GPU fetches them without another copy.
    """
    ahead = _batches_ahead(batch_size, math.prod(reader.view.clip_shape()), num_threads)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="kinoray-decode")
    pending: deque[_Pending] = deque()
    try:
        for start in range(0, rows.num_rows, batch_size):
            pending.append(_begin(pool, reader, rows.slice(start, batch_size), pinned=pinned))
            if len(pending) > ahead:
                yield _finished(reader, *pending.popleft())
        while pending:
            yield _finished(reader, *pending.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_Pending = tuple[NDArray[np.uint8], list[Future[ReadRow]]]


def _batches_ahead(batch_size: int, clip_bytes: int, num_threads: int) -> int:
    """Batches to begin before the oldest is waited for: enough for every thread, as long as they are small."""
    wanted = 1 + math.ceil(ROWS_AHEAD_PER_THREAD * num_threads / batch_size)
    return max(1, min(wanted, MAX_BYTES_AHEAD // (batch_size * clip_bytes)))


def _begin(pool: ThreadPoolExecutor, reader: RowReader, rows: pa.Table, *, pinned: bool) -> _Pending:
    clips = _blank((rows.num_rows, *reader.view.clip_shape()), pinned=pinned)
    return clips, [pool.submit(reader.read_into, row, out) for row, out in zip(rows.to_pylist(), clips, strict=True)]


def _blank(shape: tuple[int, ...], *, pinned: bool) -> NDArray[np.uint8]:
    # Packed rows are not full; what is in use of them is put together in pinned memory before a GPU fetches it.
    if pinned and len(shape) > 2:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()
    return np.empty(shape, dtype=np.uint8)  # in huge pages, unlike torch's: a third of the time to touch it first


def _finished(reader: RowReader, clips: NDArray[np.uint8], reading: list[Future[ReadRow]]) -> Batch:
    return Batch.from_columns({**columns_of([future.result() for future in reading]), "clip": clips}, reader.view)
