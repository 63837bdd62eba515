"""Threads beside the model: the order of the rows, few batches ahead, and nothing left behind."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from kinoray.data.rows import PlanRow, ReadRow
from kinoray.train import beside
from kinoray.train.beside import decoded_beside


@dataclass
class View:
    shape: tuple[int, ...] = (1, 2, 4, 4, 3)

    def clip_shape(self) -> tuple[int, ...]:
        return self.shape


@dataclass
class Reader:
    """Writes each row's position; notes what it was asked for, and can be held up."""

    view: View = field(default_factory=View)
    read: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def read_into(self, row: PlanRow, out: NDArray[np.uint8]) -> ReadRow:
        position = row["position"]
        if position == 0:
            self.gate.wait(10)
        self.read.append(position)
        if position == 99:
            raise RuntimeError("broken reader")
        out.fill(position)
        return ReadRow(
            video_id=str(position),
            position=position,
            clip_seed=np.uint64(0),
            label=position,
            error="",
            decode_seconds=0.5,
            colour=0,
            facts="",
        )


def rows(*positions: int) -> pa.Table:
    return pa.table({"position": positions})


def stream(reader: Reader, table: pa.Table, batch_size: int, num_threads: int = 2) -> Iterator:
    return decoded_beside(table, reader, batch_size, num_threads, pinned=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_batches_come_in_the_order_of_the_rows_though_the_first_is_slow(num_threads: int) -> None:
    reader = Reader()
    threading.Timer(0.1, reader.gate.set).start()
    batches = list(stream(reader, rows(*range(11)), 4, num_threads))
    assert [batch.positions.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    for batch in batches:
        assert batch.clips[:, 0, 0, 0, 0, 0].tolist() == batch.positions.tolist() == batch.labels.tolist()
        assert batch.decode_seconds == 0.5 * len(batch.positions)


def test_packed_rows_have_a_place_of_the_largest_size_each_which_is_not_pinned() -> None:
    reader = Reader(View((96,)))
    first, second = decoded_beside(rows(1, 2, 3), reader, 2, 1, pinned=True)  # type: ignore[arg-type]
    assert first.clips.data.tolist() == [1] * 96 + [2] * 96
    assert (first.clips.starts, len(second.clips)) == ((0, 96), 1)


def test_no_rows_no_batches() -> None:
    assert list(stream(Reader(), rows().cast(pa.schema([("position", pa.int64())])), 4)) == []


def test_only_a_few_batches_are_decoded_ahead() -> None:
    reader = Reader()
    reader.gate.set()
    batches = stream(reader, rows(*range(90)), 2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(reader.read) <= 2 * (1 + 3)


def test_of_large_batches_one_is_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    monkeypatch.setattr(beside, "MAX_BYTES_AHEAD", 96)  # a clip
    batches = stream(reader, rows(1, 2, 3, 4, 5, 6), 1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert set(reader.read) <= {1, 2}


def test_a_stream_that_is_dropped_leaves_no_thread() -> None:
    reader = Reader()
    reader.gate.set()
    batches = stream(reader, rows(*range(90)), 2)
    next(batches)
    decoding = [thread for thread in threading.enumerate() if thread.name.startswith("kinoray-decode")]
    assert decoding
    batches.close()  # type: ignore[attr-defined]
    for thread in decoding:
        thread.join(5)
        assert not thread.is_alive()


def test_an_error_of_the_reader_is_raised_where_the_batch_is_asked_for() -> None:
    reader = Reader()
    batches = stream(reader, rows(1, 2, 99, 3), 2)
    assert next(batches).positions.tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="broken reader"):
        next(batches)
