"""Who decodes which batch, and how much of it at a time: numbers only, no Ray is started."""

import numpy as np
import pytest

from kinoray.cluster.ingest import beside_turns
from kinoray.cluster.remote import BLOCKS_PER_TASK, MAX_TASK_BYTES, MAX_TASK_ROWS, DecodeBudget, rows_per_task

MB = 2**20
CLIP = 32 * 224 * 224 * 3
THIRTY_VIEWS = 30 * CLIP


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, ""), (1, "0123456789"), (0.5, "02468"), (0.25, "048"), (1 / 3, "0369"), (0.8, "01235678")],
)
def test_turns_are_evenly_spread_and_begin_beside(share: float, expected: str) -> None:
    found = "".join(str(index) for index in np.flatnonzero(beside_turns(10, share)))
    assert found == expected


def test_a_stream_of_no_batches_has_no_turns() -> None:
    assert beside_turns(0, 0.5).tolist() == []


def budget(tasks: int, store_mb: int) -> DecodeBudget:
    return DecodeBudget(cpus=tasks, object_store_bytes=store_mb * MB)


ROWS = {
    # rows of the stream, batch, bytes of a clip, budget -> rows of a task
    "clips of 5 MB fill a block": (10_000, 8, CLIP, budget(8, 16_000), 24),
    "small clips": (10_000, 8, 100_000, budget(8, 16_000), MAX_TASK_ROWS),
    "a batch larger than that": (10_000, 48, 100_000, budget(8, 16_000), 48),
    "a batch that divides nothing": (10_000, 7, 100_000, budget(8, 16_000), 28),
    "30 views one by one": (10_000, 8, THIRTY_VIEWS, budget(8, 16_000), 1),
    "a small store": (10_000, 8, CLIP, budget(8, 1_300), 8),
    "hardly a store": (10_000, 8, CLIP, budget(8, 100), 1),
    "few rows for many CPUs": (640, 8, 100_000, budget(16, 16_000), 8),
    "fewer rows than a batch": (5, 8, CLIP, budget(1, 16_000), 8),
}


@pytest.mark.parametrize(("num_rows", "batch_size", "clip_bytes", "budget", "expected"), ROWS.values(), ids=ROWS)
def test_rows_of_a_task(num_rows: int, batch_size: int, clip_bytes: int, budget: DecodeBudget, expected: int) -> None:
    found = rows_per_task(num_rows, batch_size, clip_bytes, budget)
    assert found == expected
    assert found == 1 or found * clip_bytes <= MAX_TASK_BYTES
    assert found == 1 or found * clip_bytes * BLOCKS_PER_TASK * budget.num_tasks <= budget.object_store_bytes


@pytest.mark.parametrize(("cpus", "per_task", "expected"), [(8, 1, 8), (11.5, 1, 11), (0.5, 0.5, 1), (0.9, 0.3, 3)])
def test_tasks_at_a_time(cpus: float, per_task: float, expected: int) -> None:
    assert DecodeBudget(cpus=cpus, cpus_per_task=per_task).num_tasks == expected
