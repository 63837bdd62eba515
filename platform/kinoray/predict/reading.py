"""Rows of a listing as batches' plan, and batches and scores as outcomes."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pyarrow as pa

from kinoray.data.plan import evaluation_plan
from kinoray.data.rows import MANIFEST_SCHEMA, VideoFacts
from kinoray.predict.away import check_available
from kinoray.predict.scoring import Scorer
from kinoray.predict.table import Outcome, status_of
from kinoray.predict.tally import Tally
from kinoray.train.batch import Batch
from kinoray.video.files import without_passwords


def plan_of(listing: pa.Table) -> pa.Table:
    """Rows of ``LISTING_SCHEMA`` as rows of ``PLAN_SCHEMA``, whole videos in listed order."""
    num_rows = listing.num_rows
    blank = pa.nulls(num_rows, pa.float64())
    labels = pa.array([-1] * num_rows, pa.int64())
    columns = [listing["video_id"], listing["uri"], labels, blank, blank]
    return evaluation_plan(pa.table(columns, schema=MANIFEST_SCHEMA))


def outcomes(
    listing: pa.Table, batches: Iterable[Batch], scorer: Scorer, *, num_clips: int
) -> Iterator[tuple[list[Outcome], Tally]]:
    """Score batches of the plan of a listing.

    Raises:
        ResourceError: the store gives some of the videos neither now nor after several tries.
    """
    known = {row["video_id"]: row for row in listing.to_pylist()}
    for batch in batches:
        scored = scorer(batch.all_clips_on(scorer.device))
        num_videos = len(batch.errors)
        rows = []
        for index, (video_id, error, text) in enumerate(zip(batch.video_ids, batch.errors, batch.facts, strict=True)):
            facts: VideoFacts = json.loads(text)
            listed = known[video_id]
            check_available(error, facts.get("reason", ""), listed["uri"])
            row = Outcome(
                video_id=video_id,
                uri=without_passwords(listed["uri"]),
                etag=listed["etag"],
                num_bytes=listed["bytes"],
                status=status_of(facts, error),
                error=error,
                facts=facts,
                decode_ms=batch.decode_seconds * 1000 / num_videos,
                model_ms=scored.seconds * 1000 / num_videos,
            )
            if not error:
                features = None if scored.embeddings is None else scored.embeddings[index]
                row = replace(row, scores=scored.scores[index], embedding=features, num_clips=num_clips)
            rows.append(row)
        seconds = sum(row.facts.get("duration_seconds", 0.0) for row in rows)
        yield rows, Tally(num_videos, batch.decode_seconds, scored.seconds, seconds)
