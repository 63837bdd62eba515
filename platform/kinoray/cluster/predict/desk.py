"""Which worker scores which shard, what is written, and which videos are to blame where workers die.

A worker that dies costs its shards another attempt. Whatever attempt follows a death is careful: the worker tells of
each video before it reads it, one at a time, so that the next death has a suspect. A video that was being read at two
such deaths is not read again: its row says so. One death alone convicts nobody: processes are killed for other reasons.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from kinoray.predict.reading import Tally

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
        verdicts: video -> why it is not to be read.
        is_careful: read one video at a time, and tell of each before.
    """

    shard: int
    attempt: int
    verdicts: dict[str, Verdict]
    is_careful: bool


@dataclass
class _Shard:
    attempts: int = 0
    deaths: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    suspicions: Counter[str] = field(default_factory=Counter)
    reading: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        num_shards: written, by earlier runs too.
        counts: rows by status, of shards written by this run.
        tally: of this run, shards under way included.
        num_deaths: of workers.
        num_attempts: of shards, beyond the first.
    """

    num_shards: int
    counts: dict[str, int]
    tally: Tally
    num_deaths: int
    num_attempts: int


class Desk:
    """Gives out shards; lives as a Ray actor.

    Args:
        num_shards: of the listing.
        written: shards that an earlier run wrote.
    """

    def __init__(self, num_shards: int, written: Iterable[int]) -> None:
        done = set(written)
        self._num_shards, self._num_written = num_shards, len(done)
        self._fresh = iter([number for number in range(num_shards) if number not in done])
        self._again: deque[int] = deque()
        self._shards: dict[int, _Shard] = {}
        self._held: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._tally = Tally()
        self._num_deaths = self._num_again = 0

    def take(self, worker: str) -> Task | None:
        """The next shard for a worker; None: there is none now, but one may come back from a worker that dies."""
        number = self._again.popleft() if self._again else next(self._fresh, None)
        if number is None:
            return None
        shard = self._shards.setdefault(number, _Shard())
        shard.attempts += 1
        self._held.setdefault(worker, []).append(number)
        return Task(number, shard.attempts, dict(shard.verdicts), shard.deaths > 0)

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
        known.deaths = known.deaths - 1  # the one that follows has its reason

    def lost(self, worker: str) -> int | None:
        """A worker died: its shards are done again. Gives the number of one whose workers die again and again."""
        self._num_deaths += 1
        hopeless = None
        for number in self._held.pop(worker, []):
            shard = self._shards[number]
            shard.deaths += 1
            if shard.reading:
                shard.suspicions[shard.reading] += 1
                if shard.suspicions[shard.reading] >= DEATHS_TO_CONVICT:
                    shard.verdicts[shard.reading] = "crashed"
                    shard.deaths = 1
                shard.reading = ""
            if shard.deaths > MAX_DEATHS:
                hopeless = number
            self._num_again += 1
            self._again.append(number)
        return hopeless

    def progress(self) -> Progress:
        """How far the run is."""
        return Progress(self._num_written, dict(self._counts), self._tally, self._num_deaths, self._num_again)
