"""What a decode task gives back: packed rows one after the other, and no more than is in use."""

import numpy as np
import pyarrow as pa

from kinoray.cluster.blocks import BlockReader, packed_column
from kinoray.data.packing import used_bytes, write_blank
from kinoray.data.rows import ReadRow

CAPACITY = 2_000


class View:
    def clip_shape(self):
        return (CAPACITY,)


class Reader:
    """Rows of nothing, whose number of views is their position."""

    view = View()

    def read_into(self, row, out):
        write_blank(out, row["position"], 8, 16)
        return ReadRow(
            video_id="",
            position=row["position"],
            clip_seed=np.uint64(0),
            label=0,
            error="",
            decode_seconds=0,
            colour=0,
            facts="",
        )


def rows_of(table):
    data, starts = packed_column(table)
    return [data[start:][: used_bytes(data[start:])].tobytes() for start in starts]


def test_packed_rows_lie_one_after_the_other():
    block = BlockReader(Reader())(pa.table({"position": [3, 1, 4, 2]}))
    clips = block["clip"]
    rows = rows_of(block)
    assert rows == clips.to_pylist()
    assert [len(row) for row in rows] == [used_bytes(np.frombuffer(row, np.uint8)) for row in rows]
    assert clips.chunk(0).buffers()[2].size == sum(map(len, rows)) < CAPACITY
    assert np.shares_memory(packed_column(block)[0], np.frombuffer(clips.chunk(0).buffers()[2], np.uint8))


def test_batches_may_be_parts_of_blocks_or_several_of_them():
    read = BlockReader(Reader())
    first, second = (read(pa.table({"position": positions})) for positions in ([3, 1, 4], [2, 5]))
    expected = [*rows_of(first), *rows_of(second)]
    assert rows_of(first.slice(1, 2)) == expected[1:3]
    assert rows_of(pa.concat_tables([first.slice(2), second.slice(0, 1)])) == expected[2:4]
    assert rows_of(pa.concat_tables([first, second])) == expected
