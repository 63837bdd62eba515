"""Long videos window by window: each video is opened once, and no more of it is in memory than a batch of windows."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kinoray.data.reading import facts_of
from kinoray.data.rows import VideoFacts
from kinoray.data.views import EvalView, segment_frames
from kinoray.errors import DataError, DecodeError
from kinoray.predict.reading import Tally, check_available
from kinoray.predict.scoring import Scorer
from kinoray.predict.table import SCORED, Outcome, status_of
from kinoray.train.batch import clip_on
from kinoray.video.files import without_passwords
from kinoray.video.video import Video


class Window(NamedTuple):
    """How a video is cut.

    Attributes:
        seconds: length of a piece; the last of a video may be shorter.
        stride_seconds: from the start of one to that of the next.
    """

    seconds: float
    stride_seconds: float

    def spans(self, duration_seconds: float) -> Iterator[tuple[float, float]]:
        """Start and end of each, as long as they start within the video; at least one."""
        index = 0
        while index == 0 or index * self.stride_seconds < duration_seconds:
            start = index * self.stride_seconds
            yield start, min(start + self.seconds, max(duration_seconds, start))
            index += 1


class VideoAccess(NamedTuple):
    """How videos are opened, and what is around each reading of them.

    Attributes:
        open: row of ``LISTING_SCHEMA`` -> the video.
        guard: video_id -> a context in which it is opened or read.
    """

    open: Callable[[Mapping[str, Any]], Video]
    guard: Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class _Piece:
    """Windows of one video that were read: rows, and of those that could be read clip and colour."""

    rows: list[Outcome]
    clips: list[tuple[NDArray[np.uint8], int]] = field(default_factory=list)
    decode_seconds: float = 0.0


def window_outcomes(
    listing: pa.Table,
    view: EvalView,
    window: Window,
    access: VideoAccess,
    scorer: Scorer,
    *,
    batch_size: int,
    num_clips: int,
    num_threads: int,
) -> Iterator[tuple[list[Outcome], Tally]]:
    """Score the windows of all videos in listed order; a batch holds windows of one video.

    Args:
        listing: of ``LISTING_SCHEMA``.
        view: what is cut out of each window.
        window: how videos are cut.
        access: to the videos.
        scorer: of the clips.
        batch_size: windows of a batch.
        num_clips: of one window.
        num_threads: videos that are read at the same time, each one batch ahead.
    """
    waiting = iter(listing.to_pylist())
    active: deque[tuple[Iterator[_Piece], Future[_Piece | None]]] = deque()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="kinoray-windows") as pool:
        while True:
            while len(active) < num_threads and (listed := next(waiting, None)) is not None:
                pieces = _pieces(listed, view, window, access, batch_size)
                active.append((pieces, pool.submit(next, pieces, None)))
            if not active:
                return
            pieces, coming = active.popleft()
            piece = coming.result()
            if piece is not None:
                active.appendleft((pieces, pool.submit(next, pieces, None)))
                yield _scored(piece, scorer, num_clips)


def _pieces(
    listed: dict[str, Any], view: EvalView, window: Window, access: VideoAccess, batch_size: int
) -> Iterator[_Piece]:
    """One video's windows, read as they are asked for."""
    video_id, uri = listed["video_id"], listed["uri"]
    row = Outcome(video_id, without_passwords(uri), listed["etag"], listed["bytes"], "corrupt", "", VideoFacts())
    try:
        with access.guard(video_id):
            video = access.open(listed)
    except DataError as problem:
        yield _Piece([_failed(row, problem)])
        return
    with video:
        row = replace(row, facts=facts_of(video))
        spans = list(window.spans(video.duration_seconds))
        for start in range(0, len(spans), batch_size):
            with access.guard(video_id):
                piece = _read(video, row, view, spans[start : start + batch_size])
            yield piece


def _read(video: Video, row: Outcome, view: EvalView, spans: list[tuple[float, float]]) -> _Piece:
    started = time.thread_time()
    rows, clips = [], []
    for start, end in spans:
        row = replace(row, start_seconds=start, end_seconds=end)
        try:
            views = view.read(video, segment_frames(video, start, end))
        except DataError as problem:
            rows.append(_failed(row, problem))
            continue
        facts = VideoFacts(**{**row.facts, "num_filled": getattr(video, "num_filled", 0)})
        rows.append(replace(row, facts=facts, status=status_of(facts, "")))
        clips.append((views.clip, views.colour))
    return _Piece(rows, clips, time.thread_time() - started)


def _failed(row: Outcome, problem: DataError) -> Outcome:
    """The row of what cannot be read.

    Raises:
        ResourceError: the store does not give it now.
    """
    reason = problem.reason if isinstance(problem, DecodeError) else "damaged"
    check_available(str(problem), reason)
    facts = VideoFacts(**{**row.facts, "reason": reason})
    return replace(row, facts=facts, error=str(problem), status=status_of(facts, str(problem)))


def _scored(piece: _Piece, scorer: Scorer, num_clips: int) -> tuple[list[Outcome], Tally]:
    num_windows = len(piece.rows)
    decode_ms = piece.decode_seconds * 1000 / num_windows
    rows = [replace(row, decode_ms=decode_ms) for row in piece.rows]
    if not piece.clips:
        return rows, Tally(num_windows, piece.decode_seconds)
    scored = scorer(torch.cat([clip_on(clip, colour, scorer.device) for clip, colour in piece.clips]))
    results = iter(range(len(piece.clips)))
    for place, row in enumerate(rows):
        if row.status in SCORED:
            index = next(results)
            rows[place] = replace(
                row,
                scores=scored.scores[index],
                embedding=None if scored.embeddings is None else scored.embeddings[index],
                num_clips=num_clips,
                model_ms=scored.seconds * 1000 / len(piece.clips),
            )
    seconds = sum((row.end_seconds or 0.0) - (row.start_seconds or 0.0) for row in rows)
    return rows, Tally(num_windows, piece.decode_seconds, scored.seconds, seconds)
