"""The rows that travel through the pipeline, as typed dictionaries."""

from typing import NotRequired, TypedDict

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

READING_COLUMNS = pa.schema(
    [("packet_index", pa.large_binary()), ("frame_template", pa.string()), ("fps", pa.float64())]
)
"""What may be known of how a video is read; each column may be missing or null. ``packet_index`` is what opening the
file would find out, as jobs/prepare.py found it; ``frame_template`` and ``fps`` are of folders of frames."""


def with_reading_columns(table: pa.Table, known: pa.Table) -> pa.Table:
    """A table with those of ``READING_COLUMNS`` that another table of the same rows has."""
    for field in READING_COLUMNS:
        if field.name in known.column_names:
            table = table.append_column(field, known[field.name].cast(field.type))
    return table


GROUP = pa.field("group", pa.string())
"""A column that a manifest may have: what a video was cut from, so that videos of one group are alike. Null: nothing
that others were cut from."""


class PlanRow(TypedDict):
    """One planned reading of one video."""

    video_id: str
    path: str
    label: int
    start_seconds: float | None
    end_seconds: float | None
    position: int
    clip_seed: int
    packet_index: NotRequired[bytes | None]
    frame_template: NotRequired[str | None]
    fps: NotRequired[float | None]


class ReadRow(TypedDict):
    """What reading a video tells besides its clip.

    Where ``error`` is not empty the clip is all zero, or a packed row of nothing, and is never trained on.
    ``decode_seconds`` is CPU time of the thread that read. ``colour`` is the code of what YUV planes are in
    (``transforms.colours``), 0 with RGB.
    ``clip_seed`` is that of the plan, for what is random about the clip on the model's device. ``facts`` is JSON of
    ``VideoFacts`` where they were asked for, else empty.
    """

    video_id: str
    position: int
    clip_seed: np.uint64
    label: int
    error: str
    decode_seconds: float
    colour: int
    facts: str


class VideoFacts(TypedDict, total=False):
    """What opening and reading a video tells of it; of one that cannot be read, what was known before the error.

    ``reason`` is that of the DecodeError. ``num_filled`` counts frames that stand for others that could not be decoded.
    """

    codec: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    num_frames: int
    num_bytes: int
    num_filled: int
    reason: str


class ClipRow(ReadRow):
    """One video read: what decoding makes of a PlanRow.

    ``clip`` is uint8: RGB ``(M, T, H, W, C)``; or planes of YUV 4:2:0 ``(M, T, 3 * H / 2, W)``, whose last two axes
    hold H rows of Y and then, packed without gaps, U and V of ``H / 2 x W / 2`` each; or a packed row ``(B,)``, which
    says itself what its planes are (``data.packing``). B differs from row to row and is at most that of ``clip_shape``.
    """

    clip: NDArray[np.uint8]
