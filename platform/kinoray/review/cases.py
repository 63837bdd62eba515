"""The few rows of a prediction that are shown, kept while all of them pass by."""

from bisect import insort
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Case(NamedTuple):
    """A video, or a window of one.

    Attributes:
        labels: the highest first.
        scores: of the labels.
        truth: what it should be, None where that is not known.
        start_seconds: of a window, with ``end_seconds``; None means the whole video.
    """

    video_id: str
    uri: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    truth: str | None
    start_seconds: float | None
    end_seconds: float | None

    @property
    def is_wrong(self) -> bool:
        return self.truth is not None and self.truth != self.labels[0]


_Entry = tuple[float, str, float, Case]


class Shortlist:
    """The cases of each group with the highest keys; which ones does not depend on the order in which rows come.

    Args:
        size: cases of a group, at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[int, list[_Entry]] = {}
        self._floors = np.empty(0)

    def offer(self, groups: NDArray[np.int64], keys: NDArray[np.float64], case: Callable[[int], Case]) -> None:
        """Take what is good enough of some rows.

        Args:
            groups: ``(N,)``, from 0 on.
            keys: ``(N,)``; NaN is never taken.
            case: number of a row -> the case, which is made of candidates only.
        """
        if self._size == 0 or len(groups) == 0:
            return
        missing = int(groups.max()) + 1 - len(self._floors)
        self._floors = np.append(self._floors, np.full(max(0, missing), -np.inf))
        candidates = np.flatnonzero(keys >= self._floors[groups])
        for number in candidates[np.argsort(-keys[candidates], kind="stable")].tolist():
            group, key = int(groups[number]), float(keys[number])
            if key < self._floors[group]:
                continue
            found = case(number)
            entries = self._entries.setdefault(group, [])
            insort(entries, (-key, found.video_id, found.start_seconds or 0.0, found), key=_rank)
            if len(entries) > self._size:
                entries.pop()
            if len(entries) == self._size:
                self._floors[group] = -entries[-1][0]

    def of(self, group: int = 0) -> tuple[Case, ...]:
        """The cases of a group, the highest key first; equals by id and time."""
        return tuple(case for _, _, _, case in self._entries.get(group, ()))


def _rank(entry: _Entry) -> tuple[float, str, float]:
    return entry[:3]
