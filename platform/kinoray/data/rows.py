"""The rows that travel through the pipeline, as typed dictionaries."""

from typing import TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MANIFEST_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.int64()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
    ]
)
"""One row per video (or per segment of one): ``video_id`` is unique, ``label`` is an index or -1 for none,
``start_seconds``/``end_seconds`` are null for a whole video."""

PLAN_SCHEMA = pa.schema([*MANIFEST_SCHEMA, ("position", pa.int64()), ("clip_seed", pa.uint64())])
"""A manifest row with its place in the epoch and the seed of all that is random about its clip."""


class PlanRow(TypedDict):
    """One planned reading of one video."""

    video_id: str
    path: str
    label: int
    start_seconds: float | None
    end_seconds: float | None
    position: int
    clip_seed: int


class ClipRow(TypedDict):
    """One video read: what decoding makes of a PlanRow.

    ``clip`` is ``(M, T, H, W, C)`` uint8. Where ``error`` is not empty the clip is all zero and is never trained on.
    """

    video_id: str
    position: int
    label: int
    clip: NDArray[np.uint8]
    error: str
    decode_seconds: float
