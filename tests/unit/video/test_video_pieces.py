"""Long videos are cut where nothing is decoded twice."""

from types import SimpleNamespace

import numpy as np
import pytest

from kinoray.video.pieces import pieces

VIDEO = SimpleNamespace(keyframes=np.array([0, 10, 20, 30]))


@pytest.mark.parametrize(
    ("indices", "longest", "starts"),
    [
        (range(40), 15, [0, 10, 20, 30]),
        (range(40), 20, [0, 20]),
        (range(40), 100, [0]),
        (range(40), 4, [0, 4, 8, 10, 14, 18, 20, 24, 28, 30, 34, 38]),
        (range(5, 35, 5), 3, [5, 20]),
        ([1, 3, 11], 2, [1, 11]),
        ([], 4, []),
    ],
)
def test_pieces_begin_at_keyframes_where_one_is_near(indices, longest, starts):
    indices = np.array(indices, np.int64)
    cut = list(pieces(VIDEO, indices, longest))
    assert [int(piece[0]) for piece in cut] == starts
    assert all(0 < len(piece) <= longest for piece in cut)
    assert np.concatenate([*cut, np.empty(0, np.int64)]).tolist() == indices.tolist()
