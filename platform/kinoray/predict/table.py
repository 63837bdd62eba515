"""What is written of each video: one row, whatever became of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinoray.data.rows import VideoFacts
from kinoray.metrics import ranked

Status = Literal["ok", "partial", "corrupt", "unsupported", "timeout", "missing", "denied"]
STATUSES: tuple[Status, ...] = ("ok", "partial", "corrupt", "unsupported", "timeout", "missing", "denied")
SCORED = frozenset({"ok", "partial"})
"""The others have no scores."""

_OF_REASON: dict[str, Status] = {
    "missing": "missing",
    "unavailable": "missing",
    "denied": "denied",
    "slow": "timeout",
    "no_video": "unsupported",
    "memory": "unsupported",
}
COUNTS_KEY = b"kinoray.counts"

_FACTS = {
    "codec": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "fps": pa.float64(),
    "duration_seconds": pa.float64(),
    "num_frames": pa.int64(),
}


@dataclass(frozen=True)
class Written:
    """What goes into the rows beside what always does.

    Attributes:
        classes: K names.
        top_k: labels of a row.
        all_scores: whether all K scores are kept.
        with_embeddings: whether what goes into the classifier is kept.
        with_times: whether a row is a window of a video, with its start and end.
        model_id: of the weights.
        recipe_digest: of the views and whatever else decides the scores.
        run_id: of MLflow.
    """

    classes: tuple[str, ...]
    top_k: int
    all_scores: bool
    with_embeddings: bool
    with_times: bool
    model_id: str
    recipe_digest: str
    run_id: str

    def schema(self) -> pa.Schema:
        """Of the rows.

        Lists are not of fixed size: Arrow writes to Parquet, but cannot read again, those of which some are null.
        """
        fields: list[tuple[str, pa.DataType]] = [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("etag", pa.string()),
            ("bytes", pa.int64()),
            ("status", pa.string()),
            ("error", pa.string()),
            *_FACTS.items(),
            *([("start_seconds", pa.float64()), ("end_seconds", pa.float64())] if self.with_times else []),
            ("num_clips", pa.int32()),
            ("top_labels", pa.list_(pa.string())),
            ("top_scores", pa.list_(pa.float32())),
            *([("scores", pa.list_(pa.float32()))] if self.all_scores else []),
            *([("embedding", pa.list_(pa.float32()))] if self.with_embeddings else []),
            ("model_id", pa.string()),
            ("recipe_digest", pa.string()),
            ("decode_ms", pa.float32()),
            ("model_ms", pa.float32()),
            ("attempt", pa.int32()),
            ("run_id", pa.string()),
        ]
        return pa.schema(fields)

    def table(self, rows: Sequence["Outcome"]) -> pa.Table:
        """Rows as a table whose metadata counts them by status."""
        return joined([pa.Table.from_pylist([self._row(row) for row in rows], schema=self.schema())])

    def _row(self, row: "Outcome") -> dict[str, Any]:
        best = [] if row.scores is None else ranked(row.scores[None])[0, ::-1][: self.top_k].tolist()
        scores = [] if row.scores is None else [float(row.scores[index]) for index in best]
        facts: Mapping[str, Any] = row.facts
        return {
            "video_id": row.video_id,
            "uri": row.uri,
            "etag": row.etag,
            "bytes": row.num_bytes if row.num_bytes is not None else facts.get("num_bytes"),
            "status": row.status,
            "error": row.error,
            **{name: facts.get(name) for name in _FACTS},
            "start_seconds": row.start_seconds,
            "end_seconds": row.end_seconds,
            "num_clips": row.num_clips,
            "top_labels": [self.classes[index] for index in best],
            "top_scores": scores,
            "scores": row.scores,
            "embedding": row.embedding,
            "model_id": self.model_id,
            "recipe_digest": self.recipe_digest,
            "decode_ms": row.decode_ms,
            "model_ms": row.model_ms,
            "attempt": row.attempt,
            "run_id": self.run_id,
        }


@dataclass(frozen=True)
class Outcome:
    """What became of a video or of a window of it.

    Attributes:
        num_bytes: as it was listed.
        error: why it has no scores, or not all; empty where it went well.
        scores: ``(K,)`` float32.
        embedding: ``(D,)`` float32.
        num_clips: that were scored.
        attempt: counted from 1, of the shard.
    """

    video_id: str
    uri: str
    etag: str
    num_bytes: int | None
    status: Status
    error: str
    facts: VideoFacts
    scores: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    num_clips: int = 0
    decode_ms: float = 0.0
    model_ms: float = 0.0
    attempt: int = 1
    start_seconds: float | None = None
    end_seconds: float | None = None


def status_of(facts: VideoFacts, error: str) -> Status:
    """What a reading's facts and error come to."""
    if error:
        return _OF_REASON.get(facts.get("reason", ""), "corrupt")
    return "partial" if facts.get("num_filled") else "ok"


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Rows of several tables as one whose metadata counts them by status."""
    table = pa.concat_tables([table.replace_schema_metadata() for table in tables])
    counts = Counter(table["status"].to_pylist())
    return table.replace_schema_metadata({COUNTS_KEY: json.dumps(counts)})


def counts_of(schema: pa.Schema) -> dict[str, int]:
    """Rows by status, of a shard's schema."""
    counts: dict[str, int] = json.loads((schema.metadata or {}).get(COUNTS_KEY, b"{}"))
    return counts
