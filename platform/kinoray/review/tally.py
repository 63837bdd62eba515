"""One pass over the output of a prediction: shard by shard, so that its size costs time, not memory."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from kinoray.data.output import OutputFolder
from kinoray.errors import DataError
from kinoray.predict.listing import JOB, SUCCESS
from kinoray.predict.table import SCORED
from kinoray.review.cases import Case, Shortlist
from kinoray.review.labels import UNKNOWN, Labels

NUM_BINS = 20
"""Of the histogram of confidence."""
BATCH_ROWS = 8192
_COLUMNS = ("video_id", "uri", "status", "error", "duration_seconds", "top_labels", "top_scores")
_TIMES = ("start_seconds", "end_seconds")
_OF_ALL = ("model_id", "recipe_digest", "run_id")


class Sizes(NamedTuple):
    """How many cases are kept.

    Attributes:
        per_class: of each class, the most confident.
        unsure: those whose best two scores lie closest.
        mistakes: the most confident.
        unscored: of each status.
    """

    per_class: int
    unsure: int
    mistakes: int
    unscored: int


class Unscored(NamedTuple):
    """A video, or a window of one, that has no scores."""

    video_id: str
    uri: str
    status: str
    error: str
    start_seconds: float | None
    end_seconds: float | None


class Shards(NamedTuple):
    """What there is of a prediction.

    Attributes:
        names: of the files, sorted.
        job: what the prediction noted of itself.
        num_listed: videos that it is about; None where the list is not complete.
    """

    names: list[str]
    job: dict[str, Any]
    num_listed: int | None


@dataclass
class Tally:
    """What a prediction comes to. Classes are numbers: ``names`` says of what.

    Attributes:
        num_rows: as many as videos, where these are not cut into windows.
        video_seconds: of all videos, as far as it is known.
        statuses: status -> rows.
        names: of all classes that a row names, in order of appearance.
        bins: ``(3, NUM_BINS)`` rows by confidence: right, wrong, and without a label.
        predicted: class -> rows.
        confidence: class -> sum over the rows that are predicted to be of it.
        confusion: (true class, predicted class) -> rows.
        num_in_top: rows whose true class is among the labels that were written.
        top_k: labels that were written of each row.
        num_unlisted: scored rows without a label.
        provenance: ``model_id`` and the like -> the values that rows have; more than one are a mixture.
    """

    sizes: Sizes
    num_rows: int = 0
    num_videos: int = 0
    video_seconds: float = 0.0
    has_windows: bool = False
    statuses: Counter[str] = field(default_factory=Counter)
    names: dict[str, int] = field(default_factory=dict)
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, NUM_BINS), np.int64))
    predicted: Counter[int] = field(default_factory=Counter)
    confidence: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    confusion: Counter[tuple[int, int]] = field(default_factory=Counter)
    num_in_top: int = 0
    top_k: int = 0
    num_unlisted: int = 0
    provenance: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in _OF_ALL})

    def __post_init__(self) -> None:
        self.surest, self.unsure, self.mistakes = (Shortlist(size) for size in self.sizes[:3])
        self._unscored: dict[str, list[Unscored]] = {}

    @property
    def unscored(self) -> list[Unscored]:
        """The first of each status, the status of most rows first."""
        return [row for status, _ in self.statuses.most_common() for row in self._unscored.get(status, ())]

    def number(self, name: str) -> int:
        """Of a class; new ones get the next."""
        return self.names.setdefault(name, len(self.names))

    def add(self, batch: pa.Table, labels: Labels | None) -> None:
        """Count some rows."""
        self.num_rows += batch.num_rows
        for found in pc.value_counts(batch["status"]).to_pylist():
            self.statuses[found["values"]] += found["counts"]
        is_scored = pc.is_in(batch["status"], value_set=pa.array(sorted(SCORED)))
        for row in batch.filter(pc.invert(is_scored)).to_pylist():
            kept = self._unscored.setdefault(row["status"], [])
            if len(kept) < self.sizes.unscored:
                kept.append(Unscored(*(row[name] for name in ("video_id", "uri", "status", "error", *_TIMES))))
        scored = batch.filter(is_scored)
        if scored.num_rows:
            self._add_scored(scored, labels)

    def _add_scored(self, rows: pa.Table, labels: Labels | None) -> None:
        num_rows = rows.num_rows
        scores = _flat(rows["top_scores"]).to_numpy(zero_copy_only=False).reshape(num_rows, -1).astype(np.float64)
        known = _flat(rows["top_labels"]).dictionary_encode()
        numbers = np.array([self.number(name) for name in known.dictionary.to_pylist()])
        classes = numbers[known.indices.to_numpy()].reshape(num_rows, -1)
        self.top_k = max(self.top_k, classes.shape[1])
        best, confidence = classes[:, 0], scores[:, 0]
        for number, count, total in _sums(best, confidence):
            self.predicted[number] += count
            self.confidence[number] += total
        truth = self._truth(rows, labels)
        self._compare(classes, confidence, truth)
        told = list(self.names)

        def case(number: int) -> Case:
            (row,) = rows.slice(number, 1).to_pylist()
            true = None if truth[number] == UNKNOWN else told[truth[number]]
            times = (row[name] for name in _TIMES)
            return Case(row["video_id"], row["uri"], tuple(row["top_labels"]), tuple(row["top_scores"]), true, *times)

        none = np.zeros(num_rows, np.int64)
        # Where one label alone was written, the least confident take the place of those that lie close.
        margin = scores[:, 0] - scores[:, 1] if scores.shape[1] > 1 else scores[:, 0]
        self.surest.offer(best, confidence, case)
        self.unsure.offer(none, -margin, case)
        wrong = (truth != UNKNOWN) & (truth != best)
        self.mistakes.offer(none, np.where(wrong, confidence, np.nan), case)

    def _truth(self, rows: pa.Table, labels: Labels | None) -> NDArray[np.int64]:
        """``(N,)`` numbers of classes."""
        if labels is None:
            return np.full(rows.num_rows, UNKNOWN)
        start, end = (rows[name].cast(pa.float64()).to_numpy() for name in _TIMES)
        found = labels.of(rows["uri"].to_pylist(), rows["video_id"].to_pylist(), (start + end) / 2)
        truth = np.full(rows.num_rows, UNKNOWN)
        for label in np.unique(found[found != UNKNOWN]):
            truth[found == label] = self.number(labels.names[label])
        return truth

    def _compare(self, classes: NDArray[np.int64], confidence: NDArray[np.float64], truth: NDArray[np.int64]) -> None:
        is_known, is_right = truth != UNKNOWN, truth == classes[:, 0]
        places = np.clip((np.nan_to_num(confidence) * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
        for kind, rows in enumerate([is_right, is_known & ~is_right, ~is_known]):
            self.bins[kind] += np.bincount(places[rows], minlength=NUM_BINS)
        pairs, counts = np.unique(np.column_stack([truth, classes[:, 0]])[is_known], axis=0, return_counts=True)
        for (true, predicted), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self.confusion[true, predicted] += count
        self.num_in_top += int((classes == truth[:, None]).any(axis=1).sum())
        self.num_unlisted += int((~is_known).sum())


def shards_of(output: OutputFolder) -> Shards:
    """What there is to be read.

    Raises:
        DataError: nothing.
    """
    names = sorted(name for name in output.names() if name.startswith("part-") and name.endswith(".parquet"))
    if not names:
        raise DataError(
            f"{output.root}: no predictions; looked for part-*.parquet, which jobs/predict.py writes into its --out"
        )
    listing = output.read(SUCCESS)
    return Shards(names, json.loads(output.read(JOB) or b"{}"), json.loads(listing)["num_videos"] if listing else None)


def tally(output: OutputFolder, shards: Shards, labels: Labels | None, sizes: Sizes) -> Tally:
    """Count all rows, and keep those that are to be shown.

    Raises:
        DataError: a file is no shard of a prediction.
    """
    total = Tally(sizes)
    for name in shards.names:
        durations: dict[str, float] = {}
        for batch in _batches(output, name, total):
            durations.update(zip(batch["video_id"].to_pylist(), batch["duration_seconds"].to_pylist(), strict=True))
            for column in _OF_ALL:
                total.provenance[column].update(batch[column].unique().to_pylist())
            total.add(batch, labels)
        total.num_videos += len(durations)
        total.video_seconds += sum(filter(None, durations.values()))
    return total


def _batches(output: OutputFolder, name: str, total: Tally) -> Iterator[pa.Table]:
    """Rows of a shard, with columns of times even where they are of whole videos."""
    file = output.open(name)
    if file is None:
        raise DataError(f"{output.path(name)}: it was there a moment ago; is the folder being deleted?")
    with file:
        try:
            shard = parquet.ParquetFile(file)
            has_times = _TIMES[0] in shard.schema_arrow.names
            total.has_windows |= has_times
            columns = [*_COLUMNS, *_OF_ALL, *(_TIMES if has_times else ())]
            if missing := sorted(set(columns) - set(shard.schema_arrow.names)):
                raise DataError(f"{output.path(name)}: no columns {', '.join(missing)}; it is no shard of a prediction")
            for batch in shard.iter_batches(BATCH_ROWS, columns=columns):
                rows = pa.Table.from_batches([batch])
                for time in () if has_times else _TIMES:
                    rows = rows.append_column(time, pa.nulls(rows.num_rows, pa.float64()))
                yield rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{output.path(name)}: cannot be read: {' '.join(str(error).split())}") from error


def _flat(lists: pa.ChunkedArray) -> pa.Array:
    """What the lists hold, one after the other."""
    return pc.list_flatten(lists).combine_chunks()


def _sums(numbers: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[tuple[int, int, float]]:
    """Number -> how often it is there, and the sum of what belongs to it."""
    counts, sums = np.bincount(numbers), np.bincount(numbers, weights=values)
    for number in np.flatnonzero(counts).tolist():
        yield number, int(counts[number]), float(sums[number])
