"""The plan: which video is read when, and with what seed; computed before an epoch, from the seed alone.

The place of a video in an epoch and all that is random about its clip come from one hash of (seed, epoch, video_id).
Neither the number of workers nor the order of the manifest nor the time of arrival plays a part, so a run on one worker
or on sixteen, or resumed in the middle, sees the same samples in the same global batches.
"""

import hashlib

import numpy as np
import pyarrow as pa

from kinoray.data.rows import MANIFEST_SCHEMA, PLAN_SCHEMA, with_reading_columns
from kinoray.errors import ConfigError


def epoch_plan(manifest: pa.Table, *, seed: int, epoch: int) -> pa.Table:
    """All rows of a manifest in the order of one training epoch (``PLAN_SCHEMA``).

    About one microsecond a video.
    """
    ids = manifest["video_id"].to_pylist()
    prefix = hashlib.blake2b(f"{seed}/{epoch}/".encode(), digest_size=16)
    digests = bytearray()
    for video_id in ids:
        state = prefix.copy()
        state.update(video_id.encode())
        digests += state.digest()
    numbers = np.frombuffer(bytes(digests), dtype="<u8").reshape(len(ids), 2)
    order = np.lexsort((numbers[:, 1], numbers[:, 0]))
    return _planned(manifest.take(pa.array(order)), clip_seeds=numbers[order, 1])


def evaluation_plan(manifest: pa.Table) -> pa.Table:
    """All rows in manifest order; evaluation draws nothing, so the seeds are zero."""
    return _planned(manifest, clip_seeds=np.zeros(manifest.num_rows, dtype=np.uint64))


def num_steps(num_videos: int, batch_size: int) -> int:
    """Full global batches in an epoch. The rest, smaller than a batch, is left out: another rest each epoch.

    Raises:
        ConfigError: there are fewer videos than one batch holds.
    """
    if num_videos < batch_size:
        raise ConfigError(
            f"data.train.batch_size: {batch_size} is more than the {num_videos} training videos; "
            f"at most {num_videos} would make one batch"
        )
    return num_videos // batch_size


def training_share(plan: pa.Table, *, batch_size: int, rank: int, world_size: int, done: int = 0) -> pa.Table:
    """What one of ``world_size`` workers reads: its slice of every global batch, in order.

    Args:
        plan: of an epoch.
        batch_size: videos of a global batch.
        rank: of the worker.
        world_size: number of workers.
        done: videos at the plan's beginning that are not read again.
    """
    starts = np.arange(done, plan.num_rows - batch_size + 1, batch_size)
    part = part_of_batch(batch_size, rank=rank, world_size=world_size)
    rows = starts[:, None] + np.arange(part.start, part.stop)
    return plan.take(pa.array(rows.ravel()))


def part_of_batch(batch_size: int, *, rank: int, world_size: int) -> range:
    """The places of a global batch that a worker gets: as many as the others, give or take one."""
    return range(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)


def evaluation_share(plan: pa.Table, *, batch_size: int, rank: int, world_size: int) -> pa.Table:
    """Every ``world_size``-th batch. Batches are cut before they are shared out: their make-up is always the same."""
    starts = np.arange(rank * batch_size, plan.num_rows, world_size * batch_size)
    rows = (starts[:, None] + np.arange(batch_size)).ravel()
    return plan.take(pa.array(rows[rows < plan.num_rows]))


def check_batch_size(batch_size: int, world_size: int) -> None:
    """Raises ConfigError where a global batch cannot be dealt evenly."""
    below = batch_size - batch_size % world_size
    if below != batch_size:
        near = f"{below} or {below + world_size}" if below else f"{world_size}"
        raise ConfigError(
            f"data.train.batch_size: {batch_size} cannot be dealt evenly to {world_size} workers; "
            f"use {near}, or another site.workers"
        )


def _planned(rows: pa.Table, *, clip_seeds: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> pa.Table:
    columns = [*rows.select(MANIFEST_SCHEMA.names).columns, pa.array(np.arange(rows.num_rows)), pa.array(clip_seeds)]
    return with_reading_columns(pa.table(columns, schema=PLAN_SCHEMA), rows).combine_chunks()
