"""A list cut into splits: by class in the shares that are wanted, and with what belongs together in one of them."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinoray.data.labels import LABEL_DELIMITER
from kinoray.data.likeness import components
from kinoray.data.rows import GROUP
from kinoray.errors import ConfigError, DataError

SHARE_TOLERANCE = 1e-6
OTHER_TABLES = {"manifest": "lists the videos of all splits", "fingerprints": "tells what shows the same"}
"""What else lies beside the manifests of splits, and what it is for."""


@dataclass(frozen=True)
class Division:
    """How a list is cut.

    Attributes:
        shares: of each split, by its name; their sum is 1.
        pattern: of paths; videos for which its first group, or all of it, is the same text belong together. None takes
            the list's own column ``group``, where it has one.
        seed: another one gives other splits.
    """

    shares: Mapping[str, float]
    pattern: re.Pattern[str] | None = None
    seed: int = 0

    @classmethod
    def parse(cls, shares: str, pattern: str | None, seed: int) -> "Division":
        """Read what a command line says, such as ``train=0.8,val=0.2``.

        Raises:
            ConfigError: it cannot be meant.
        """
        found = re.findall(r"([A-Za-z]\w*)=([\d.]+)(?:,|$)", shares)
        try:
            parsed = {name: float(share) for name, share in found}
            compiled = None if pattern is None else re.compile(pattern)
        except (ValueError, re.error) as error:
            raise ConfigError(f"--split {shares} --group-by {pattern}: {error}") from error
        is_whole = ",".join(f"{name}={share}" for name, share in found) == shares and len(parsed) == len(found)
        if not is_whole or abs(sum(parsed.values()) - 1) > SHARE_TOLERANCE or min(parsed.values()) <= 0:
            raise ConfigError(f"--split, got '{shares}'; it should be names with shares of sum 1: train=0.8,val=0.2")
        for name in parsed:
            if use := OTHER_TABLES.get(name.lower()):  # some file systems take large letters for small ones
                raise ConfigError(f"--split, got the name '{name}'; {name.lower()}.parquet {use}")
        return cls(parsed, compiled, seed)

    def groups(self, listing: pa.Table) -> list[str | None]:
        """What each row belongs to, None for rows that stand alone.

        Raises:
            DataError: the pattern fits no path.
        """
        if self.pattern is None:
            known = listing[GROUP.name].to_pylist() if GROUP.name in listing.column_names else [None] * len(listing)
            return [group or None for group in known]
        matches = [self.pattern.search(path) for path in listing["path"].to_pylist()]
        if not any(matches):
            raise DataError(f"--group-by, got '{self.pattern.pattern}'; it fits no path, such as {listing['path'][0]}")
        return [(match and match[1 if self.pattern.groups else 0]) or None for match in matches]

    def split(self, listing: pa.Table, kin: NDArray[np.int64]) -> list[str]:
        """The split of each row.

        Args:
            listing: with the columns ``video_id path label`` and perhaps ``group``.
            kin: ``(N,)``, equal for rows that show the same footage.

        Raises:
            DataError: there is too little that can be told apart.
        """
        families = joined(self.groups(listing), kin)
        places = assign(
            listing["video_id"].to_pylist(), classes_of(listing), families, tuple(self.shares.values()), self.seed
        )
        names = tuple(self.shares)
        if empty := set(names) - {names[place] for place in places}:
            raise DataError(
                f"--split: nothing is left for {', '.join(sorted(empty))}, got {len(set(families.tolist()))} groups of "
                f"videos that belong together, of {len(listing)} rows; give finer groups or fewer splits"
            )
        return [names[place] for place in places]


def joined(groups: Sequence[str | None], kin: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(N,)``, equal for rows of one group and for those of one kin, and for what is joined through others."""
    first_of: dict[object, int] = {}
    rows = np.arange(len(kin))
    by_kin = [first_of.setdefault(("kin", one), row) for row, one in enumerate(kin.tolist())]
    by_group = [row if one is None else first_of.setdefault(one, row) for row, one in enumerate(groups)]
    return components(len(kin), np.concatenate([rows, rows]), np.array(by_kin + by_group, np.int64))


def classes_of(listing: pa.Table) -> list[tuple[str, ...]]:
    """The labels of each row, as they are written: none, one or several, of which texts hold ``;`` between them."""
    return [tuple(_labels_of(label)) for label in listing["label"].to_pylist()]


def assign(
    ids: Sequence[str],
    classes: Sequence[tuple[str, ...]],
    families: NDArray[np.int64],
    shares: Sequence[float],
    seed: int,
) -> list[int]:
    """The number of the split of each row.

    Families go one by one, the largest first, to where each of their classes, and the list as a whole, come nearest to
    their shares of what has been dealt so far. So no class waits for its turn, and small families mend what large ones
    left uneven.

    Args:
        ids: of rows, each its own.
        classes: of rows.
        families: ``(N,)``, equal for rows that go together.
        shares: of the splits.
        seed: decides between equals, by a hash of the ids: not the order of rows.
    """
    members: dict[int, list[int]] = {}
    for row, family in enumerate(families.tolist()):
        members.setdefault(family, []).append(row)

    def turn(rows: list[int]) -> tuple[int, bytes]:
        return -len(rows), hashlib.sha256(f"{seed}\n{min(ids[row] for row in rows)}".encode()).digest()

    dealt: list[Counter[str | None]] = [Counter() for _ in shares]
    seen: Counter[str | None] = Counter()
    places = [0] * len(ids)
    for rows in sorted(members.values(), key=turn):
        counts: Counter[str | None] = Counter(name for row in rows for name in classes[row])
        counts[None] = len(rows)  # the list as a whole
        seen.update(counts)
        excess = [
            # A plain sum would depend on the order of the names, and so on that of the rows.
            math.fsum(count * (2 * (had[name] - share * seen[name]) + count) for name, count in counts.items())
            for had, share in zip(dealt, shares, strict=True)
        ]
        place = excess.index(min(excess))
        dealt[place].update(counts)
        for row in rows:
            places[row] = place
    return places


def _labels_of(label: object) -> list[str]:
    if isinstance(label, list):
        return [str(one) for one in label if one is not None]
    if isinstance(label, str):
        return [text for one in label.split(LABEL_DELIMITER) if (text := one.strip())]
    return [] if label is None else [str(label)]
