"""Reading videos under watch: what hangs ends with its process, what a store denies for a moment is asked for again."""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray

from kinoray.cluster.predict.desk import Verdict
from kinoray.data.reading import ClipReader
from kinoray.data.rows import PlanRow, ReadRow, VideoFacts
from kinoray.data.views import View
from kinoray.errors import DecodeError, KinorayError
from kinoray.predict.away import MISSING, UNAVAILABLE, gives_others, is_vouched_for
from kinoray.video.open import open_video
from kinoray.video.video import Video

GRACE_SECONDS = 1.0
"""After its time, for a reader to end by itself as nearly all do; then its process ends."""
DESK_SECONDS = 10.0
"""For the desk to hear of it; a desk that is gone must not keep what hangs alive."""
WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries, times 0.5 to 1.5; file systems have tried a few times before."""
_T = TypeVar("_T")
_WORDS: dict[Verdict, str] = {
    "crashed": "the process that read it died, twice",
    "slow": "not read within its time, and nothing could interrupt it",
}
_REASONS: dict[Verdict, str] = {"crashed": "damaged", "slow": "slow"}


@dataclass(frozen=True)
class WatchedReader:
    """A ``ClipReader`` for videos that nobody vouches for; may be sent to other processes.

    Attributes:
        reader: does the reading.
        shard: whose videos these are.
        desk: is told of videos that hang; where it is careful, of every video.
        is_careful: tell of every video before it is read.
        seconds: that one video may take.
        others: URIs of some of the shard's videos. Where their store gives these again and again, and one video never,
            that one is missing, and the store is not away.
    """

    reader: ClipReader
    shard: int
    desk: Any
    is_careful: bool
    seconds: float
    others: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Without what was asked of the desk: another process, perhaps after this one's death, asks again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def view(self) -> View:
        """What is cut out."""
        return self.reader.view

    def read_into(self, row: PlanRow, out: NDArray[np.uint8]) -> ReadRow:
        """As that of the reader."""
        read, reason = self._patiently(row["path"], lambda: self._read_once(row, out))
        if reason:
            read["facts"] = json.dumps({**json.loads(read["facts"]), "reason": reason})
        return read

    def open(self, listed: Mapping[str, Any]) -> Video:
        """The video of a row of ``LISTING_SCHEMA``, opened under guard."""
        found, reason = self._patiently(listed["uri"], lambda: self._open_once(listed))
        if isinstance(found, DecodeError):
            raise DecodeError(str(found), reason) from found
        return found

    @contextmanager
    def guard(self, video_id: str) -> Iterator[None]:
        """What is around every reading of a video.

        Raises:
            DecodeError: the video is not to be read, or cannot be, for whatever reason.
        """
        verdict = self._verdicts.get(video_id)
        if verdict is not None:
            raise DecodeError(f"{video_id}: {_WORDS[verdict]}", _REASONS[verdict])
        if self._is_over.is_set():
            raise DecodeError(f"{video_id}: not read, because its store stays away", UNAVAILABLE)
        if self.is_careful:
            ray.get(self.desk.reading.remote(self.shard, video_id))
        timer = threading.Timer(self.seconds + GRACE_SECONDS, self._end, [video_id])
        timer.daemon = True
        timer.start()
        try:
            yield
        except KinorayError:
            raise
        except MemoryError as error:
            raise DecodeError(f"{video_id}: there is not enough memory for it", "memory") from error
        except Exception as error:  # whatever a file brings about is its row, and not the end of the job
            raise DecodeError(f"{video_id}: cannot be read ({type(error).__name__}: {error})", "damaged") from error
        finally:
            timer.cancel()
            if self.is_careful:
                ray.get(self.desk.reading.remote(self.shard, ""))

    @cached_property
    def _verdicts(self) -> Mapping[str, Verdict]:
        known: Mapping[str, Verdict] = ray.get(self.desk.verdicts.remote(self.shard))
        return known

    @cached_property
    def _is_over(self) -> threading.Event:
        """Set where a store stays away: the job ends as soon as it hears of that, so no other video is read."""
        return threading.Event()

    def _patiently(self, uri: str, attempt: Callable[[], tuple[_T, str]]) -> tuple[_T, str]:
        """Result and reason of an attempt, the last of several where the store is away."""
        for wait_seconds in WAITS_SECONDS:
            result, reason = attempt()
            if reason != UNAVAILABLE or self._is_over.is_set():
                return result, reason
            wait(wait_seconds)
        # Asked before the last attempt: a store that came back after that would give others, and this one too.
        is_store_there = is_vouched_for(uri) and gives_others(uri, self.others)
        result, reason = attempt()
        if reason == UNAVAILABLE and is_store_there:
            return result, MISSING
        if reason == UNAVAILABLE and is_vouched_for(uri):
            self._is_over.set()
        return result, reason

    def _read_once(self, row: PlanRow, out: NDArray[np.uint8]) -> tuple[ReadRow, str]:
        try:
            with self.guard(row["video_id"]):
                read = self.reader.read_into(row, out)
        except DecodeError as verdict:
            self.view.blank(out)
            read = _unread(row, verdict)
        return read, json.loads(read["facts"]).get("reason", "")

    def _open_once(self, listed: Mapping[str, Any]) -> tuple[Video | DecodeError, str]:
        try:
            with self.guard(listed["video_id"]):
                return open_video(listed["uri"], limits=self.reader.limits, backend=self.reader.reader), ""
        except DecodeError as error:
            return error, error.reason

    def _end(self, video_id: str) -> None:
        """End this process: what it hangs in cannot be interrupted. The desk knows which video it was."""
        try:
            ray.get(self.desk.convict.remote(self.shard, video_id, "slow"), timeout=DESK_SECONDS)
        finally:
            os._exit(1)


def wait(seconds: float) -> None:
    """So long, or half of it more or less: so that not all workers ask at the same moment."""
    time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - decides nothing


def _unread(row: PlanRow, verdict: DecodeError) -> ReadRow:
    return ReadRow(
        video_id=row["video_id"],
        position=row["position"],
        clip_seed=np.uint64(row["clip_seed"]),
        label=row["label"],
        error=str(verdict),
        decode_seconds=0.0,
        colour=0,
        facts=json.dumps(VideoFacts(reason=verdict.reason)),
    )
