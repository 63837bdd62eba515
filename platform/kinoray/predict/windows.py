"""Long videos window by window: each video is opened once, and no more of it is in memory than a batch of windows."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kinoray.data.reading import facts_of
from kinoray.data.rows import VideoFacts
from kinoray.data.views import TIME_TOLERANCE_SECONDS, EvalView, Views, segment_frames
from kinoray.errors import DataError, DecodeError
from kinoray.predict.away import check_available
from kinoray.predict.scoring import Scorer
from kinoray.predict.table import SCORED, Outcome, status_of
from kinoray.predict.tally import Tally
from kinoray.train.batch import clip_on
from kinoray.video.files import without_passwords
from kinoray.video.video import Video

MAX_WINDOWS = 1_000_000
"""Of one video: damaged times may say that it lasts for centuries."""


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
        while index == 0 or index * self.stride_seconds < duration_seconds - TIME_TOLERANCE_SECONDS:
            start = index * self.stride_seconds
            yield start, min(start + self.seconds, max(duration_seconds, start))
            index += 1


class VideoAccess(NamedTuple):
    """How videos are opened, and what is around each reading of them.

    Attributes:
        open: row of ``LISTING_SCHEMA`` -> the video.
        guard: video_id -> a context in which it is read.
    """

    open: Callable[[Mapping[str, Any]], Video]
    guard: Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class _Piece:
    """Windows of one video that were read: rows, and of those that could be read clip and colour.

    ``video_seconds`` is how much of the video they are, without what the next window has again.
    """

    rows: list[Outcome]
    clips: list[tuple[NDArray[np.uint8], int]] = field(default_factory=list)
    decode_seconds: float = 0.0
    video_seconds: float = 0.0
    is_last: bool = False


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
    started = time.thread_time()
    video_id, uri = listed["video_id"], listed["uri"]
    row = Outcome(video_id, without_passwords(uri), listed["etag"], listed["bytes"], "corrupt", "", VideoFacts())
    try:
        video = access.open(listed)
    except DataError as problem:
        yield _Piece([_failed(row, problem)], decode_seconds=time.thread_time() - started, is_last=True)
        return

    def read(start: float, end: float) -> tuple[Views, int]:
        with access.guard(video_id):
            views = view.read(video, segment_frames(video, start, end))
        return views, getattr(video, "num_filled", 0)

    with video:
        row = replace(row, facts=facts_of(video))
        # Frames divided by frames per second would be off by as much as the file's word for the latter is.
        duration_seconds = float(video.pts_seconds[-1]) + 1 / video.fps
        if duration_seconds > MAX_WINDOWS * window.stride_seconds:
            lasts = DecodeError(f"{row.uri}: its times say that it lasts {duration_seconds:g} seconds", "damaged")
            yield _Piece([_failed(row, lasts)], is_last=True)
            return
        spans = window.spans(duration_seconds)
        opening_seconds, is_slow = time.thread_time() - started, False
        some = list(islice(spans, batch_size))
        while some:
            following = list(islice(spans, batch_size))
            piece = _read(read, row, some, is_slow=is_slow)
            is_slow = piece.rows[-1].status == "timeout"
            yield replace(
                piece,
                decode_seconds=piece.decode_seconds + opening_seconds,
                video_seconds=(following[0][0] if following else duration_seconds) - some[0][0],
                is_last=not following,
            )
            some, opening_seconds = following, 0.0


def _read(
    read: Callable[[float, float], tuple[Views, int]], row: Outcome, spans: list[tuple[float, float]], *, is_slow: bool
) -> _Piece:
    """Some windows; none that follows one which took too long, as that would take as long each time."""
    started = time.thread_time()
    rows, clips = [], []
    for start, end in spans:
        row = replace(row, start_seconds=start, end_seconds=end)
        try:
            if is_slow:
                raise DecodeError(f"{row.uri}: not read, because a window before it took too long", "slow")
            views, num_filled = read(start, end)
        except DataError as problem:
            rows.append(_failed(row, problem))
            is_slow = rows[-1].status == "timeout"
            continue
        facts = VideoFacts(**{**row.facts, "num_filled": num_filled})
        rows.append(replace(row, facts=facts, status=status_of(facts, "")))
        clips.append((views.clip, views.colour))
    return _Piece(rows, clips, time.thread_time() - started)


def _failed(row: Outcome, problem: DataError) -> Outcome:
    """The row of what cannot be read.

    Raises:
        ResourceError: the store does not give it now.
    """
    reason = problem.reason if isinstance(problem, DecodeError) else "damaged"
    check_available(str(problem), reason, row.uri)
    facts = VideoFacts(**{**row.facts, "reason": reason})
    return replace(row, facts=facts, error=str(problem), status=status_of(facts, str(problem)))


def _scored(piece: _Piece, scorer: Scorer, num_clips: int) -> tuple[list[Outcome], Tally]:
    num_windows = len(piece.rows)
    decode_ms = piece.decode_seconds * 1000 / num_windows
    rows = [replace(row, decode_ms=decode_ms) for row in piece.rows]
    if not piece.clips:
        return rows, Tally(int(piece.is_last), piece.decode_seconds, 0.0, piece.video_seconds)
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
    return rows, Tally(int(piece.is_last), piece.decode_seconds, scored.seconds, piece.video_seconds)
