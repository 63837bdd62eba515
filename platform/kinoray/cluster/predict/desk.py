"""Which worker scores which shard, what is written, and which videos are to blame where workers die.

A worker that dies costs its shards another attempt. Whatever attempt follows a death is careful: the worker tells of
each video before it reads it, one at a time, so that the next death has a suspect. A video that was being read at two
such deaths is not read again: its row says so. One death alone convicts nobody: processes are killed for other reasons.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kinoray.predict.tally import Tally

Verdict = Literal["crashed", "slow"]
"""Why a video is not read again: its reader died, or did not come back."""

DEATHS_TO_CONVICT = 2
MAX_DEATHS = 8
"""Of the workers of one shard, without any verdict in between; then something else than a video is wrong."""


@dataclass(frozen=True)
class Task:
    """A shard to score.

    Attributes:
        attempt: counted from 1.
        is_careful: read one video at a time, and tell of each before.
    """

    shard: int
    attempt: int
    is_careful: bool


@dataclass
class _Shard:
    attempts: int = 0
    deaths: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    suspicions: Counter[str] = field(default_factory=Counter)
    reading: str = ""
    is_explained: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        num_shards: written, by earlier runs too.
        counts: rows by status, of shards written by this run.
        tally: of this run, shards under way included.
        num_deaths: of workers.
        num_verdicts: videos that are not read again.
        num_attempts: of shards, beyond the first.
    """

    num_shards: int
    counts: dict[str, int]
    tally: Tally
    num_deaths: int
    num_verdicts: int
    num_attempts: int


class Desk:
    """Gives out shards; lives as a Ray actor.

    Args:
        num_shards: of the listing.
        written: shards that an earlier run wrote.
    """

    def __init__(self, num_shards: int, written: Sequence[int]) -> None:
        is_fresh = np.ones(num_shards, np.bool_)
        is_fresh[list(written)] = False
        self._num_shards, self._num_written = num_shards, int(num_shards - is_fresh.sum())
        self._fresh = map(int, np.flatnonzero(is_fresh))
        self._again: deque[int] = deque()
        self._shards: dict[int, _Shard] = {}
        self._held: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._tally = Tally()
        self._num_deaths = self._num_verdicts = self._num_again = 0

    def take(self, worker: str) -> Task | None:
        """The next shard for a worker; None: there is none now, but one may come back from a worker that dies."""
        number = self._again.popleft() if self._again else next(self._fresh, None)
        if number is None:
            return None
        shard = self._shards.setdefault(number, _Shard())
        shard.attempts += 1
        self._held.setdefault(worker, []).append(number)
        return Task(number, shard.attempts, shard.deaths > 0)

    def note(self, tally: Tally) -> None:
        """Work that was done on shards under way."""
        self._tally += tally

    def wrote(self, worker: str, shard: int, counts: dict[str, int]) -> None:
        """A shard is written as a whole."""
        self._held[worker].remove(shard)
        self._shards.pop(shard, None)
        self._num_written += 1
        self._counts.update(counts)

    def is_done(self) -> bool:
        """Whether every shard is written."""
        return self._num_written == self._num_shards

    def reading(self, shard: int, video_id: str) -> None:
        """A careful worker begins to read a video; empty: it has read it."""
        self._shards[shard].reading = video_id

    def convict(self, shard: int, video_id: str, verdict: Verdict) -> None:
        """A video is not to be read again."""
        known = self._shards[shard]
        known.verdicts[video_id] = verdict
        known.is_explained = True
        self._num_verdicts += 1

    def verdicts(self, shard: int) -> dict[str, Verdict]:
        """Video -> why it is not to be read."""
        return dict(self._shards[shard].verdicts) if shard in self._shards else {}

    def lost(self, worker: str) -> int | None:
        """A worker died: its shards are done again. Gives the number of one whose workers die again and again."""
        self._num_deaths += 1
        hopeless = [number for number in self._held.pop(worker, []) if self._is_hopeless_again(number)]
        return hopeless[0] if hopeless else None

    def failed(self, worker: str, shard: int) -> bool:
        """Processes that decoded a shard died, again and again, not the worker: it is done again, as after a death.

        Gives whether that is of no use.
        """
        self._held[worker].remove(shard)
        return self._is_hopeless_again(shard)

    def _is_hopeless_again(self, number: int) -> bool:
        shard = self._shards[number]
        shard.deaths += not shard.is_explained
        shard.is_explained = False
        if shard.reading:
            shard.suspicions[shard.reading] += 1
            if shard.suspicions[shard.reading] >= DEATHS_TO_CONVICT:
                shard.verdicts[shard.reading] = "crashed"
                shard.deaths = 1
                self._num_verdicts += 1
            shard.reading = ""
        self._num_again += 1
        self._again.append(number)
        return shard.deaths > MAX_DEATHS

    def progress(self) -> Progress:
        """How far the run is."""
        return Progress(
            self._num_written,
            dict(self._counts),
            self._tally,
            self._num_deaths,
            self._num_verdicts,
            self._num_again,
        )
