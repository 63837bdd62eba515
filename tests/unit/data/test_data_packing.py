import numpy as np
import pytest

from kinoray.data.packing import header_bytes, read_views, used_bytes, write_blank, write_views
from kinoray.transforms.windows import Axis, PackedView, Window

VIEWS = [
    PackedView(1000, 4, Window(Axis(61, 1, 59, 45, 0), Axis(80, -20, 99, 60, 30), 15, mirror=False)),
    PackedView(2**40, 8, Window(Axis(1, 0, 1, 2, 3), Axis(7, 0, 7, 9, 0), 15, mirror=True)),
]


@pytest.mark.parametrize("offset", [0, 1, 13])
def test_a_row_says_what_it_holds(offset):
    """Wherever it lies."""
    row = np.full(offset + 600, 77, np.uint8)[offset:]
    write_views(row, VIEWS, 512)
    assert (row[header_bytes(2) :] == 77).all()
    row.flags.writeable = False
    assert read_views(row) == VIEWS
    assert used_bytes(row) == 512


def test_a_blank_row_is_of_nothing():
    row = np.full(600, 77, np.uint8)
    write_blank(row, 3, 8, 24)
    assert used_bytes(row) == header_bytes(3) < 600
    views = read_views(row)
    assert [(view.num_frames, view.window.side, view.window.frame_bytes) for view in views] == [(8, 24, 0)] * 3


def test_bytes_of_a_frame_round_chroma_up():
    assert VIEWS[0].window.frame_bytes == 61 * 80 + 2 * 31 * 40
    assert VIEWS[1].window.frame_bytes == 7 + 2 * 1 * 4
