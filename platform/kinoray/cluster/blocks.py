"""What a decode task does. No torch here: it would cost each decoding process seconds and hundreds of MB."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from ray.data.extensions import ArrowTensorArray

from kinoray.data.columns import columns_of
from kinoray.data.reading import ClipReader


@dataclass(frozen=True)
class BlockReader:
    """A table of ``PLAN_SCHEMA`` in, a table of ``ClipRow`` fields out.

    The clips are written into one array, which lies in the table as it is. Ray copies it into shared memory, and the
    worker reads it there.
    """

    reader: ClipReader

    def __call__(self, rows: pa.Table) -> pa.Table:
        clips = np.empty((rows.num_rows, *self.reader.view.clip_shape()), dtype=np.uint8)
        read = [self.reader.read_into(row, out) for row, out in zip(rows.to_pylist(), clips, strict=True)]
        return pa.table({**columns_of(read), "clip": ArrowTensorArray.from_numpy(clips)})
