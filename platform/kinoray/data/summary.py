"""What a prepared list holds, in figures: how long, how large, how fast, in which codecs, of which classes."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinoray.data.duplicates import Duplicates

NUM_BINS = 30
SAME = 1e-9
"""Figures that differ by no more of themselves are one: rounding would put the edges of bins out of order."""
FEW_VIDEOS = 10
"""A class with less is told of."""


@dataclass(frozen=True)
class Spread:
    """How a figure is spread over videos.

    Attributes:
        edges: of the bins, one more than there are; each bin is a constant times as wide as the one before.
        counts: of the videos in each bin.
    """

    least: float
    median: float
    most: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """Of positive values, at least one."""
        least, most = float(values.min()), float(values.max())
        is_spread = most > least * (1 + SAME)
        edges = np.geomspace(least, most, NUM_BINS + 1) if is_spread else np.array([0.5, 1.5]) * least
        edges[0], edges[-1] = min(edges[0], least), max(edges[-1], most)
        counts = np.histogram(values, edges)[0]
        return cls(least, float(np.median(values)), most, tuple(edges.tolist()), tuple(counts.tolist()))


@dataclass(frozen=True)
class Summary:
    """What a prepared list holds. Files are counted once, however many rows name them; of bad ones only the reasons.

    Attributes:
        num_rows: of the list.
        num_files: good and bad.
        num_frames: of all good files.
        hours: of all good files.
        num_bytes: of all good files.
        num_damaged: good files of which too few pictures could be decoded for a fingerprint.
        reasons: reason -> bad files.
        codecs: codec -> good files.
        fps: frames per second -> good files.
        short_sides: pixels -> good files.
        duration_seconds: of good files.
        frames: of good files.
        file_bytes: of good files.
        classes: label as it is written -> rows, the largest first.
        splits: name -> class -> rows, where the list was cut.
        split_rows: name -> rows; a row may be of several classes, or of none.
        num_exact: rows whose bytes are there again, in this list or another.
        num_near: rows whose footage is there again in other bytes.
        num_duplicate_groups: of rows that show the same footage.
        num_leaks: rows whose footage another list has.
    """

    num_rows: int
    num_files: int
    num_frames: int
    hours: float
    num_bytes: int
    num_damaged: int
    reasons: Mapping[str, int]
    codecs: Mapping[str, int]
    fps: Mapping[str, int]
    short_sides: Mapping[str, int]
    duration_seconds: Spread
    frames: Spread
    file_bytes: Spread
    classes: Mapping[str, int]
    splits: Mapping[str, Mapping[str, int]]
    split_rows: Mapping[str, int]
    num_exact: int
    num_near: int
    num_duplicate_groups: int
    num_leaks: int

    @property
    def imbalance(self) -> float:
        """Rows of the largest class by those of the smallest; 1 where no row has a label."""
        return max(self.classes.values(), default=1) / min(self.classes.values(), default=1)

    @property
    def small_classes(self) -> dict[str, int]:
        """Classes with few rows."""
        return {name: count for name, count in self.classes.items() if count < FEW_VIDEOS}

    def to_json(self) -> bytes:
        """For people and programs."""
        figures = asdict(self) | {"imbalance": round(self.imbalance, 3), "small_classes": self.small_classes}
        return json.dumps(figures, indent=1, ensure_ascii=False).encode()


def summarize(
    facts: pa.Table, classes: list[tuple[str, ...]], duplicates: Duplicates, splits: list[str] | None
) -> Summary:
    """Count.

    Args:
        facts: rows of ``FACTS_SCHEMA``, one a file, not all of them bad.
        classes: of the list's rows.
        duplicates: among the list's rows, and with others.
        splits: of the list's rows.
    """
    is_good = pc.equal(facts["error"], "")
    bad, good = facts.filter(pc.invert(is_good)), facts.filter(is_good)
    frames, fps, num_bytes = (_numbers(good[name]) for name in ("num_frames", "fps", "num_bytes"))
    sides = np.minimum(_numbers(good["width"]), _numbers(good["height"]))
    by_split = {name: Counter[str]() for name in dict.fromkeys(sorted(splits or []))}
    for name, row in zip(splits or [], classes, strict=False):
        by_split[name].update(row)
    kinds = Counter(duplicates.kinds[: duplicates.num_own].tolist())
    return Summary(
        num_rows=len(classes),
        num_files=facts.num_rows,
        num_frames=int(frames.sum()),
        hours=float((frames / fps).sum() / 3600),
        num_bytes=int(num_bytes.sum()),
        num_damaged=sum(fingerprint == b"" for fingerprint in good["fingerprint"].to_pylist()),
        reasons=_counted(bad["error_reason"].to_pylist()),
        codecs=_counted(good["codec"].to_pylist()),
        fps=_counted(f"{rate:.2f}".rstrip("0").rstrip(".") for rate in fps),
        short_sides=_counted(f"{side:g}" for side in sides),
        duration_seconds=Spread.of(frames / fps),
        frames=Spread.of(frames),
        file_bytes=Spread.of(num_bytes),
        classes=_counted(name for row in classes for name in row),
        splits={name: _counted(counts.elements()) for name, counts in by_split.items()},
        split_rows=dict(sorted(Counter(splits or []).items())),
        num_exact=kinds["exact"],
        num_near=kinds["near"],
        num_duplicate_groups=duplicates.num_groups,
        num_leaks=sum(bool(leak) for leak in duplicates.leaks()),
    )


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = column.to_numpy().astype(np.float64)
    return numbers


def _counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value is there, the most frequent first, equals by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def read_splits(content: bytes | None) -> set[str]:
    """Files of the splits that an earlier run made, of its summary; nothing where it cannot be read."""
    try:
        names = list(json.loads(content or b"{}")["splits"])
    except (ValueError, KeyError, TypeError):
        return set()
    return {f"{name}.parquet" for name in names if name.isidentifier()}
