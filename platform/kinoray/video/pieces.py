"""A long video in pieces that fit into memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kinoray.video.video import Video


def pieces(video: Video, indices: NDArray[np.int64], longest: int) -> Iterator[NDArray[np.int64]]:
    """Cut ascending display indices into pieces that begin at a keyframe where one is near enough.

    Reading a piece that does not decodes again what the piece before has decoded since the last keyframe.

    Args:
        video: that they are of.
        indices: ``(n,)``.
        longest: most indices of a piece.
    """
    start = 0
    while start < len(indices):
        stop = min(start + longest, len(indices))
        if stop < len(indices):
            at_keyframe = np.flatnonzero(np.isin(indices[start + 1 : stop + 1], video.keyframes))
            stop = start + 1 + int(at_keyframe[-1]) if len(at_keyframe) else stop
        yield indices[start:stop]
        start = stop
