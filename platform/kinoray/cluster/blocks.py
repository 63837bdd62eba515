"""What a decode task does. No torch here: it would cost each decoding process seconds and hundreds of MB."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray.data.extensions import ArrowTensorArray

from kinoray.data.columns import columns_of
from kinoray.data.packing import used_bytes
from kinoray.data.reading import RowReader
from kinoray.data.rows import PlanRow, ReadRow


@dataclass(frozen=True)
class BlockReader:
    """A table of ``PLAN_SCHEMA`` in, a table of ``ClipRow`` fields out.

    The clips are written into one array, which lies in the table as it is: packed rows one after the other. Ray copies
    it into shared memory, and the worker reads it there.
    """

    reader: RowReader

    def __call__(self, rows: pa.Table) -> pa.Table:
        shape = self.reader.view.clip_shape()
        clips = np.empty((rows.num_rows, *shape), dtype=np.uint8)
        if len(shape) == 1:
            read, packed = self._packed(rows.to_pylist(), clips.reshape(-1), *shape)
            return pa.table({**columns_of(read), "clip": packed})
        read = [self.reader.read_into(row, out) for row, out in zip(rows.to_pylist(), clips, strict=True)]
        return pa.table({**columns_of(read), "clip": ArrowTensorArray.from_numpy(clips)})

    def _packed(
        self, rows: Sequence[PlanRow], room: NDArray[np.uint8], capacity: int
    ) -> tuple[list[ReadRow], pa.LargeBinaryArray]:
        """Reads into ``(B,)``, of which each row gets what it uses; memory that is not used is never touched."""
        read, offsets = [], [0]
        for row in rows:
            out = room[offsets[-1] :][:capacity]
            read.append(self.reader.read_into(row, out))
            offsets.append(offsets[-1] + used_bytes(out))
        buffers = [None, pa.py_buffer(np.array(offsets, np.int64)), pa.py_buffer(room[: offsets[-1]])]
        return read, pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(rows), buffers)


def packed_column(table: pa.Table) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes in which the packed rows of a table lie, and where each begins; copied only from several blocks."""
    chunks = table["clip"]
    rows = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    _, offsets, data = rows.buffers()
    starts = np.frombuffer(offsets, np.int64)[rows.offset :][: len(rows)]
    return np.frombuffer(data, np.uint8), starts
