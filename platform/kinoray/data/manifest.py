"""A manifest: the videos of a split with checked labels, and the class names that belong to them."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinoray.config.secrets import without_passwords
from kinoray.data.labels import (
    LabelSets,
    derived_classes,
    distinct_sets,
    label_indices,
    label_lists,
    mirrored_sets,
    multi_hot,
    single_labels,
)
from kinoray.data.rows import GROUP, MANIFEST_SCHEMA, with_reading_columns
from kinoray.data.sources import SourceConfig
from kinoray.errors import DataError
from kinoray.video.shards import shard_of

NUM_FILES_LOOKED_AT = 500


@dataclass(frozen=True)
class Manifest:
    """The videos of one split.

    Attributes:
        table: rows of ``MANIFEST_SCHEMA``; every label is in 0..K-1. Those of ``READING_COLUMNS``, and ``GROUP``, that
            the source has follow.
        classes: K names; index = label.
        split: ``train``, ``val`` or ``test``.
        source: what it was read from, in words.
        label_sets: where videos have several labels: what the column ``label`` counts, instead of classes.
    """

    table: pa.Table
    classes: tuple[str, ...]
    split: str
    source: str
    label_sets: LabelSets | None = None

    @property
    def where(self) -> str:
        """Split and source, for messages."""
        return f"{self.split} data {self.source}"

    @property
    def num_videos(self) -> int:
        return int(self.table.num_rows)

    def digest(self) -> str:
        """12 hex digits of what is listed (ids, paths, labels, segments) in this order."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, MANIFEST_SCHEMA) as writer:
            writer.write_table(self.table.select(MANIFEST_SCHEMA.names).combine_chunks())
        content = hashlib.sha256(sink.getvalue())
        if self.label_sets is not None:
            used = {label: self.label_sets[label] for label in sorted(set(self.table["label"].to_pylist()))}
            content.update(repr(used).encode())
        return content.hexdigest()[:12]

    def targets(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``(N,)`` values of the column ``label`` -> ``(N, K)``: which classes they stand for."""
        if self.label_sets is None:
            return np.equal.outer(labels, np.arange(len(self.classes)))
        return multi_hot(self.label_sets, labels.tolist(), len(self.classes))

    def label_names(self) -> pa.Array:
        """What each value of the column ``label`` stands for: a class name, or a list of them."""
        if self.label_sets is None:
            return pa.array(self.classes, pa.string())
        return pa.array([[self.classes[label] for label in own] for own in self.label_sets], pa.list_(pa.string()))

    def groups(self) -> pa.Array | None:
        """Of each video the name of what it was cut from, or null; None where the source tells none."""
        return self.table[GROUP.name].combine_chunks() if GROUP.name in self.table.column_names else None

    def mirrored(self, flip_labels: Sequence[int]) -> tuple["Manifest", tuple[int, ...]]:
        """What a mirror makes of the column ``label``.

        Args:
            flip_labels: class -> class of the mirrored video.

        Returns:
            The manifest, which knows the label sets of mirrored videos as well, and label -> label of the mirrored one.
        """
        if self.label_sets is None or not flip_labels:
            return self, tuple(flip_labels)
        label_sets, flip_sets = mirrored_sets(self.label_sets, flip_labels)
        return replace(self, label_sets=label_sets), flip_sets

    def absolute(self) -> "Manifest":
        """The same with absolute paths: readers on other nodes, or in other folders, find the same files."""
        index = self.table.schema.get_field_index("path")
        return replace(self, table=self.table.set_column(index, "path", absolute(self.table["path"])))

    def first_of_last(self) -> str:
        """The first row of the last class, for messages; it is there where classes are derived."""
        last = len(self.classes) - 1
        sets = [(label,) for label in range(last + 1)] if self.label_sets is None else self.label_sets
        wanted = next(place for place, labels in enumerate(sets) if last in labels)
        return _row(self.table, pc.index(self.table["label"], wanted).as_py())

    def path_of(self, video_id: str) -> str:
        """The path behind an id, see ``shown_paths``."""
        found = self.table.filter(pc.equal(self.table["video_id"], video_id))["path"]
        return without_passwords(found[0].as_py())

    def shown_paths(self, positions: NDArray[np.int64]) -> list[str]:
        """Paths of some rows for tables and messages that others read: addresses without their secrets."""
        return [without_passwords(path) for path in self.table["path"].take(positions).to_pylist()]


def shown(ids: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Ids as everyone may read them: those that are addresses are without their secrets."""
    if not pc.any(pc.match_substring(ids, "://")).as_py():
        return ids
    return pa.array([text and without_passwords(text) for text in ids.to_pylist()], pa.string())


def absolute(paths: pa.ChunkedArray) -> pa.Array:
    """Local paths as they are from any folder; URIs stay."""
    return pa.array([path if "://" in path else str(Path(path).absolute()) for path in paths.to_pylist()], pa.string())


def load_manifest(
    source: SourceConfig,
    classes: Sequence[str] | None,
    *,
    split: str,
    multi_label: bool = False,
    stated_in: str = "",
) -> Manifest:
    """Read a source and check it.

    Args:
        source: where the videos are listed.
        classes: the K class names; None derives them: sorted names, or indices up to the largest.
        split: name of the split, for messages.
        multi_label: whether a video may have several labels, or none.
        stated_in: the file that the class names are from, for messages.

    Raises:
        DataError: nothing is listed, an id is missing or listed twice, a label is no class, or a segment has no length.
    """
    where, setting = f"{split} data {source.describe()}", f"data.{split}.source"
    try:
        listing = source.read()
    except DataError as error:
        told = str(error).replace("\n", "\\n")  # a path may hold one
        raise DataError(told if setting in told else f"{told}  [{setting}]") from error
    if listing.num_rows == 0:
        raise DataError(f"{where}: lists no video; check its path and its where/where_not conditions")
    try:
        names, labels, label_sets = _labels(listing, classes, where, multi_label=multi_label)
    except DataError as error:
        raise DataError(f"{error}{f'  [{stated_in}]' if stated_in else ''}") from error
    columns = {
        "video_id": shown(listing["video_id"].cast(pa.string())),
        "path": listing["path"],
        "label": labels,
    }
    for name in ("start_seconds", "end_seconds"):
        present = name in listing.column_names
        columns[name] = listing[name] if present else pa.nulls(listing.num_rows, pa.float64())
    table = pa.table(columns, schema=MANIFEST_SCHEMA)
    table = with_reading_columns(table, listing)
    if GROUP.name in listing.column_names:
        table = table.append_column(GROUP, listing[GROUP.name].cast(GROUP.type))
    check_ids(table["video_id"], where)
    _check_segments(table, where)
    return Manifest(table, names, split, source.describe(), label_sets)


def read_classes(path: str, *, setting: str = "data.classes") -> tuple[str, ...]:
    """Class names from a text file, one a line; line number = label.

    Args:
        path: of the file.
        setting: that named it, for messages.

    Raises:
        DataError: it is missing, empty, or names a class twice.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise DataError(f"{setting}: {path} is no regular file; it should hold a class name a line")
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", error)
        raise DataError(f"{setting}: {path} cannot be read: {why}; it should hold a class name a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"{setting}: {path} names no class; it should hold a class name a line")
    if repeated := repeated_name(names):
        raise DataError(f"{setting}: {path} names '{repeated}' twice; each class has a line of its own")
    return names


def repeated_name(names: Sequence[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def check_files(manifest: Manifest, max_missing_fraction: float) -> None:
    """Look whether the local files exist, at up to 500 of them spread over the manifest.

    A few missing files are the business of reading, which reports them one by one; this catches a wrong root before
    anything starts.

    Raises:
        DataError: more than the fraction are missing.
    """
    paths = [shard_of(path) for path in manifest.table["path"].to_pylist() if "://" not in path]
    looked_at = paths[:: -(-len(paths) // NUM_FILES_LOOKED_AT) or 1]
    missing = [path for path in looked_at if not os.path.exists(path)]  # noqa: PTH110 - Path's raises for a name that is too long
    if looked_at and len(missing) / len(looked_at) > max_missing_fraction:
        raise DataError(
            f"{manifest.where}: {len(missing)} of the {len(looked_at)} video files looked at do not exist, "
            f"the first is {missing[0]}; check the source's root, or raise data.max_bad_fraction "
            f"({max_missing_fraction:g})"
        )


def _labels(
    listing: pa.Table, classes: Sequence[str] | None, where: str, *, multi_label: bool
) -> tuple[tuple[str, ...], pa.ChunkedArray | pa.Array, LabelSets | None]:
    """Class names, the column ``label``, and the label sets it counts where videos have several labels."""
    written = listing["label"]
    if not multi_label:
        written = single_labels(written, where, lambda number: _row(listing, number))
        names = tuple(classes) if classes is not None else derived_classes(written, where)
        return names, label_indices(written, names, where, lambda number: _row(listing, number)), None
    values, rows = label_lists(written, where, lambda number: _row(listing, number))
    names = tuple(classes) if classes is not None else derived_classes(values, where)
    indices = label_indices(values, names, where, lambda number: _row(listing, int(rows[number])))
    label_sets, labels = distinct_sets(np.asarray(indices), rows, listing.num_rows)
    return names, pa.array(labels, pa.int64()), label_sets


def check_ids(ids: pa.ChunkedArray, where: str) -> None:
    """Raise a DataError where a row has no id, or that of another one."""
    if ids.null_count:
        raise DataError(
            f"{where}: {ids.null_count} row(s) have no video_id; give each row its own, or leave the column out"
        )
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise DataError(
            f"{where}: video_id '{repeated[0]['values'].as_py()}' is listed {repeated[0]['counts'].as_py()} times "
            f"({len(repeated)} ids are repeated); give each row its own video_id"
        )


def _check_segments(table: pa.Table, where: str) -> None:
    """Comparison with NaN is false, so that it is refused as well."""
    start, end = table["start_seconds"], table["end_seconds"]
    begins = pc.fill_null(pc.and_(pc.is_finite(start), pc.greater_equal(start, 0.0)), fill_value=True)
    ends = pc.fill_null(pc.greater(end, pc.fill_null(start, 0.0)), fill_value=True)
    first = pc.index(pc.and_(begins, ends), value=False).as_py()
    if first >= 0:
        raise DataError(
            f"{where}: {_row(table, first)} lasts from {start[first].as_py()} to {end[first].as_py()} seconds; "
            "it should end after it starts, at 0 or later"
        )


def _row(table: pa.Table, number: int) -> str:
    return f"row {number + 1} ({table['video_id'][number].as_py()})"
